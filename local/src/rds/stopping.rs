//! Stopping, starting, rebooting, failing over.

use std::net::SocketAddr;
use std::sync::Arc;

use super::api::{Answer, Call};
use super::encryption::KEY_LOST;
use super::events::Happening;
use super::lifecycle::{Flow, blocking};
use super::{Inner, cluster, errors, global, instance};
use crate::request::ApiError;

pub(super) fn stop(rds: &Arc<Inner>, call: &Call) -> Answer {
    let name = call.form.required("DBClusterIdentifier")?;
    let restart = rds
        .settings
        .durations
        .longest_stop
        .mul_f64(1.0 / rds.settings.speed);
    let id = rds.edit(|book| {
        let cluster = book.cluster(&call.place, name)?;
        cluster.require_available()?;
        global::check_stoppable(book, cluster)?;
        let id = cluster.resource_id.clone();
        let instances = book.instances_of(&id);
        if instances.is_empty()
            || instances
                .iter()
                .any(|instance| !instance.status.is("available"))
        {
            return Err(errors::instance_state(format!(
                "DB cluster {name} has DB instances that are not available, or none"
            )));
        }
        book.set_all(&id, "stopping", call.now);
        if let Some(cluster) = book.clusters.get_mut(&id) {
            cluster.restart_at = Some(call.now + restart);
        }
        Ok(id)
    })?;
    let lasting = rds.lasting(rds.settings.durations.stop, &format!("stop {id}"));
    let cluster = id.clone();
    rds.flow(move |flow| async move {
        let volume = flow.cluster(&cluster, |cluster, _| Some(Arc::clone(&cluster.volume)))?;
        if let Err(error) = blocking(move || volume.stop()).await {
            tracing::error!(%error, "a database server was not stopped");
        }
        flow.sleep(lasting).await;
        settle(
            &flow,
            &cluster,
            "stopping",
            "stopped",
            Happening::ClusterStopped,
        )?;
        // A stop lasts seven days at most.
        flow.sleep(restart.saturating_sub(lasting)).await;
        let overdue = flow.cluster(&cluster, |cluster, now| {
            Some(cluster.restart_at.is_some_and(|at| at <= now))
        })?;
        if !overdue {
            return None;
        }
        flow.with(|rds| {
            rds.edit(|book| book.set_all(&cluster, "starting", rds.now()));
            begin_start(rds, &cluster);
            Some(())
        })
    });
    cluster::answer(rds, &id)
}

pub(super) async fn start(rds: &Arc<Inner>, call: &Call) -> Answer {
    let name = call.form.required("DBClusterIdentifier")?;
    // It is also how a cluster comes back whose key was lost for a while.
    let startable = ["stopped", KEY_LOST];
    let encryption = rds.read(|book| {
        let cluster = book.cluster(&call.place, name)?;
        cluster.require(&startable)?;
        Ok::<_, ApiError>(cluster.encryption.clone())
    })?;
    if let Some(key) = encryption.key()
        && !rds.readable(&call.caller, &encryption).await
    {
        return Err(errors::key_not_accessible("DB cluster's", &key.arn));
    }
    let id = rds.edit(|book| {
        let cluster = book.cluster(&call.place, name)?;
        cluster.require(&startable)?;
        let id = cluster.resource_id.clone();
        book.set_all(&id, "starting", call.now);
        Ok::<_, ApiError>(id)
    })?;
    begin_start(rds, &id);
    cluster::answer(rds, &id)
}

fn begin_start(rds: &Arc<Inner>, resource_id: &str) {
    let id = resource_id.to_owned();
    let lasting = rds.lasting(rds.settings.durations.start, &format!("start {id}"));
    rds.flow(move |flow| async move {
        flow.cluster(&id, |cluster, _| {
            cluster.restart_at = None;
            Some(())
        })?;
        flow.sleep(lasting).await;
        let (volume, listen) = flow.cluster(&id, |cluster, _| {
            Some((
                Arc::clone(&cluster.volume),
                SocketAddr::new(cluster.address, cluster.configuration.port),
            ))
        })?;
        if let Err(error) = blocking(move || volume.start(listen)).await {
            tracing::error!(%error, "a database server did not start");
        }
        settle(
            &flow,
            &id,
            "starting",
            "available",
            Happening::ClusterStarted,
        )
    });
}

fn settle(flow: &Flow, cluster: &str, from: &str, to: &str, happening: Happening) -> Option<()> {
    let (place, name) = flow.cluster(cluster, |cluster, _| {
        cluster
            .status
            .is(from)
            .then(|| (cluster.place.clone(), cluster.id.clone()))
    })?;
    flow.with(|rds| {
        rds.edit(|book| book.set_all(cluster, to, rds.now()));
        rds.tell(&place, &name, happening);
        Some(())
    })
}

pub(super) fn reboot(rds: &Arc<Inner>, call: &Call) -> Answer {
    let name = call.form.required("DBInstanceIdentifier")?;
    let id = rds.edit(|book| {
        let instance = book.instance_mut(&call.place, name)?;
        instance.require_available()?;
        instance.status.set("rebooting", call.now);
        Ok::<_, ApiError>(instance.resource_id.clone())
    })?;
    let lasting = rds.lasting(rds.settings.durations.reboot, &format!("reboot {id}"));
    let instance = id.clone();
    rds.flow(move |flow| async move {
        let volume = flow.edit(|book| {
            let instance = book.instances.get(&instance)?;
            let cluster = book.clusters.get(&instance.cluster)?;
            // Readers share the writer's server here; rebooting one must not disturb the others.
            Some(instance.writer.then(|| Arc::clone(&cluster.volume)))
        })?;
        if let Some(volume) = volume
            && let Err(error) = blocking(move || volume.restart()).await
        {
            tracing::error!(%error, "a database server did not restart");
        }
        flow.sleep(lasting).await;
        let (place, name) = flow.instance(&instance, |instance, now| {
            instance.status.is("rebooting").then_some(())?;
            instance.status.set("available", now);
            instance.parameter_status = "in-sync";
            instance.cluster_parameter_status = "in-sync";
            Some((instance.place.clone(), instance.id.clone()))
        })?;
        flow.tell(&place, &name, Happening::InstanceRestarted)
    });
    instance::answer(rds, &id)
}

pub(super) fn fail_over(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let (id, heir) = rds.edit(|book| {
        let cluster = book.cluster_mut(&call.place, form.required("DBClusterIdentifier")?)?;
        cluster.require_available()?;
        let id = cluster.resource_id.clone();
        let heir = book
            .instances_of(&id)
            .into_iter()
            .filter(|instance| !instance.writer && instance.status.is("available"))
            .filter(|instance| {
                form.text("TargetDBInstanceIdentifier")
                    .is_none_or(|target| target.eq_ignore_ascii_case(&instance.id))
            })
            .min_by_key(|instance| (instance.promotion_tier, instance.id.clone()))
            .map(|instance| instance.resource_id.clone())
            .ok_or_else(|| errors::cluster_state("The DB cluster has no reader to fail over to"))?;
        if let Some(cluster) = book.clusters.get_mut(&id) {
            cluster.status.set("failing-over", call.now);
        }
        Ok::<_, ApiError>((id, heir))
    })?;
    let lasting = rds.lasting(rds.settings.durations.failover, &format!("failover {id}"));
    let cluster = id.clone();
    rds.flow(move |flow| async move {
        let (place, name) = flow.cluster(&cluster, |cluster, _| {
            Some((cluster.place.clone(), cluster.id.clone()))
        })?;
        flow.tell(&place, &name, Happening::FailoverStarted)?;
        flow.sleep(lasting).await;
        flow.edit(|book| {
            for instance in book
                .instances
                .values_mut()
                .filter(|instance| instance.cluster == cluster)
            {
                instance.writer = instance.resource_id == heir;
            }
            Some(())
        })?;
        flow.cluster(&cluster, |cluster, now| {
            cluster
                .status
                .is("failing-over")
                .then(|| cluster.status.set("available", now))
        })?;
        flow.tell(&place, &name, Happening::FailoverCompleted)
    });
    cluster::answer(rds, &id)
}
