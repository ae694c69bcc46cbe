//! RDS for Aurora: clusters are real database servers, statuses move with time.
