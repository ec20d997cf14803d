//! The batch system's job that this process is part of, as its environment tells.
//!
//! The variables are those that each system documents for the processes of a job: `sbatch(1)`,
//! `qsub(1)` of PBS and of Grid Engine, `bsub(1)`.

use serde::{Deserialize, Serialize};

/// A job of a batch system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFacts {
    /// `slurm`, `pbs`, `lsf` or `sge`.
    pub system: String,
    /// The id of this job; of an array's job, the one that the system's commands take.
    pub job_id: String,
    /// The id of the array that the job belongs to.
    #[serde(default)]
    pub array_job_id: Option<String>,
    /// Its index in that array.
    #[serde(default)]
    pub array_index: Option<u64>,
    /// The host, as the batch system calls it where it tells.
    pub node: String,
    /// How often the job was started again after it was requeued; `None` where the system does
    /// not tell.
    #[serde(default)]
    pub restart_count: Option<u64>,
}

impl BatchFacts {
    /// Those of this process; `None` outside of a job.
    pub fn current() -> Option<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Those of an environment.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let facts = |system: &str, job_id: String| Self {
            system: system.to_owned(),
            job_id,
            array_job_id: None,
            array_index: None,
            node: host(),
            restart_count: None,
        };
        if let Some(job_id) = text("SLURM_JOB_ID") {
            return Some(Self {
                array_job_id: text("SLURM_ARRAY_JOB_ID"),
                array_index: number("SLURM_ARRAY_TASK_ID"),
                node: text("SLURMD_NODENAME").unwrap_or_else(host),
                // Set from the first restart on.
                restart_count: Some(number("SLURM_RESTART_COUNT").unwrap_or(0)),
                ..facts("slurm", job_id)
            });
        }
        if let Some(job_id) = text("PBS_JOBID") {
            // Torque has the second name. The ids are `12[3].server` in an array, else `12.server`.
            let array_index = number("PBS_ARRAY_INDEX").or_else(|| number("PBS_ARRAYID"));
            let array_job_id = array_index.map(|_| {
                job_id.split_once('[').map_or_else(|| job_id.clone(), |(array, _)| array.to_owned())
            });
            return Some(Self { array_job_id, array_index, ..facts("pbs", job_id) });
        }
        if let Some(job_id) = text("LSB_JOBID") {
            // The index is 0 outside of an array; all jobs of one have its id.
            let array_index = number("LSB_JOBINDEX").filter(|&index| index > 0);
            let array_job_id = array_index.map(|_| job_id.clone());
            return Some(Self { array_job_id, array_index, ..facts("lsf", job_id) });
        }
        // A name as plain as this one is Grid Engine's only beside another of its own.
        let job_id = text("JOB_ID").filter(|_| text("SGE_TASK_ID").is_some())?;
        // `undefined` outside of an array.
        let array_index = number("SGE_TASK_ID");
        let array_job_id = array_index.map(|_| job_id.clone());
        Some(Self { array_job_id, array_index, ..facts("sge", job_id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<BatchFacts> {
        BatchFacts::of(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_batch_system_tells_its_job() {
        let slurm = of(&[
            ("SLURM_JOB_ID", "102"),
            ("SLURM_ARRAY_JOB_ID", "100"),
            ("SLURM_ARRAY_TASK_ID", "2"),
            ("SLURMD_NODENAME", "n7"),
            ("SLURM_RESTART_COUNT", "3"),
        ])
        .unwrap();
        let expected = BatchFacts {
            system: "slurm".to_owned(),
            job_id: "102".to_owned(),
            array_job_id: Some("100".to_owned()),
            array_index: Some(2),
            node: "n7".to_owned(),
            restart_count: Some(3),
        };
        assert_eq!(slurm, expected);
        assert_eq!(of(&[("SLURM_JOB_ID", "1")]).unwrap().restart_count, Some(0));
        let array = |variables: &[(&str, &str)]| {
            let facts = of(variables).unwrap();
            (facts.system, facts.job_id, facts.array_job_id, facts.array_index)
        };
        let found = |system: &str, id: &str, array: Option<&str>, index| {
            (system.to_owned(), id.to_owned(), array.map(str::to_owned), index)
        };
        let pbs = array(&[("PBS_JOBID", "12[3].server"), ("PBS_ARRAY_INDEX", "3")]);
        assert_eq!(pbs, found("pbs", "12[3].server", Some("12"), Some(3)));
        let lsf = array(&[("LSB_JOBID", "5"), ("LSB_JOBINDEX", "0")]);
        assert_eq!(lsf, found("lsf", "5", None, None));
        let sge = array(&[("JOB_ID", "6"), ("SGE_TASK_ID", "undefined")]);
        assert_eq!(sge, found("sge", "6", None, None));
    }

    #[test]
    fn other_environments_are_of_no_job() {
        for variables in [&[][..], &[("JOB_ID", "6")], &[("SLURM_JOB_ID", "")]] {
            assert_eq!(of(variables), None, "{variables:?}");
        }
    }
}
