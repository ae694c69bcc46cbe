//! Security groups: in which VPC each is.
//!
//! RDS keeps groups by name, and servers listen on the loopback interface: a group is an
//! id and its VPC, and EC2 itself is not here. An id of which nobody has said anything is
//! a group of the region's own VPC, where every subnet group is; stacks say where theirs
//! are, and whoever wants a group elsewhere, or an id without a group, says so.

use std::collections::BTreeMap;

use crate::rds::Place;
use crate::regional::Regional;
use crate::request::Caller;

/// Where the security groups of every account and region are.
#[derive(Default)]
pub struct SecurityGroups {
    /// By id: the VPC, or nothing where there is no such group.
    told: Regional<BTreeMap<String, Option<String>>>,
}

impl SecurityGroups {
    /// Puts a group into a VPC.
    pub fn put(&self, caller: &Caller, id: &str, vpc: &str) {
        self.tell(caller, id, Some(vpc.to_owned()));
    }

    /// From now on no group has this id.
    pub fn remove(&self, caller: &Caller, id: &str) {
        self.tell(caller, id, None);
    }

    /// The VPC that a group is in; `None` when there is no such group.
    #[must_use]
    pub fn vpc_of(&self, caller: &Caller, id: &str) -> Option<String> {
        let told = self.told.with(caller, |told| told.get(id).cloned());
        told.unwrap_or_else(|| Some(Place::of(caller).default_vpc()))
    }

    fn tell(&self, caller: &Caller, id: &str, vpc: Option<String>) {
        self.told
            .with(caller, |told| told.insert(id.to_owned(), vpc));
    }
}
