#!/usr/bin/env bash
# Starts a SLURM of one node on loopback, with all of its state in DIR, or stops it:
# slurm.sh start DIR; slurm.sh stop DIR.
# Needs root and Debian's slurm-wlm and munge; neither systemd nor cgroups. Nothing of the system's
# own SLURM or munge is touched. The commands find it by SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
action=${1:?start or stop}; dir=$(realpath -m "${2:?a directory}")
export SLURM_CONF=$dir/slurm.conf PATH=$PATH:/usr/sbin

stop() {
    # What its jobs left would outlive it.
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 50); do
        [ -n "$(timeout 5 squeue --noheader --states=running,completing 2>/dev/null)" ] || break
        sleep 0.3
    done
    for name in slurmd slurmctld munged; do
        [ -s "$dir/$name.pid" ] || continue
        pid=$(cat "$dir/$name.pid")
        # Only one that is this cluster's: the number may be another's by now.
        grep -q "^$name" "/proc/$pid/comm" 2>/dev/null || continue
        kill "$pid"
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
}

if [ "$action" = stop ]; then
    stop
    exit
fi
for program in munged mungekey slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null && continue
    echo "$program is not installed (slurm-wlm, munge)" >&2
    exit 1
done
mkdir -p "$dir"/{spool,state,munge}
chmod 700 "$dir/munge"
host=$(hostname -s)
read -r controller node < <(python3 - <<'PORTS'
import socket
with socket.socket() as one, socket.socket() as other:
    one.bind(("127.0.0.1", 0)); other.bind(("127.0.0.1", 0))
    print(one.getsockname()[1], other.getsockname()[1])
PORTS
)
# More processors than there may be, so that jobs do not wait for each other.
cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=3600
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=normal Nodes=$host Default=YES MaxTime=INFINITE PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=preemptible Nodes=$host MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=urgent Nodes=$host MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
CONF
trap 'code=$?; [ $code = 0 ] || { tail -n 20 "$dir"/*.log "$dir"/munge/*.log >&2 || true; stop; }' EXIT
mungekey --create --keyfile="$dir/munge/key"
# --force: run by root, and below a directory of the tests.
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munged.pid" \
    --seed-file="$dir/munge/seed" --log-file="$dir/munge/munged.log"
slurmctld
slurmd
for _ in $(seq 100); do
    [ "$(sinfo --noheader --format=%T --partition=normal 2>/dev/null)" = idle ] && exit 0
    sleep 0.2
done
echo "the node is not ready after 20 s: $(sinfo 2>&1)" >&2
exit 1
