//! What the core promises, through its public functions: one program, since each links all of the
//! core.

mod cache_behaviour;
mod cache_crash;
mod cache_eviction;
mod cache_incoming;
mod cache_network;
mod cache_unfinished;
mod cache_usage;
mod checkpoint_crash;
mod checkpoint_replace;
mod codec_golden;
mod codec_motion;
mod container_crash;
mod container_damage;
mod container_golden;
mod container_hostile;
mod fs_crash;
mod fuzz_corpus;
mod gpu_store;
mod layers;
mod molecules;
mod shared_progress;
mod topology;
mod trajectory_motion;
mod trajectory_network;
mod trajectory_round_trip;
