#!/usr/bin/env bash
# A real SLURM of two nodes with two pretended GPUs each on this machine, as root, in the folder $1; again: what is down comes up.
# Debian: munge, slurmctld, slurmd, slurm-client. No accounting. Partitions: cpu, gpu, and scavenge, whose jobs the others push out.
set -euo pipefail
lab=$1 host=$(hostname -s)
mkdir -p "$lab"/{etc,log,run,spool,state,dev,munge} /run/munge /etc/slurm
chmod 755 "$lab" "$lab/munge" /run/munge
getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts

wait_for() { # seconds, command
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "not up in time: $*" >&2; return 1; }; sleep 0.2; done
}
runs() { [ -s "$lab/run/$1.pid" ] && [ "$(cat "/proc/$(cat "$lab/run/$1.pid")/comm" 2>/dev/null)" = "${1%%.*}" ]; }
munge_works() { munge -n </dev/null | unmunge; }

if ! munge_works >/dev/null 2>&1; then
    [ -s "$lab/munge/key" ] || (umask 077 && head -c 128 /dev/urandom >"$lab/munge/key")
    rm -f /run/munge/munge.socket.2 /run/munge/munge.socket.2.lock
    munged --force --key-file="$lab/munge/key" --pid-file="$lab/run/munged.pid" --log-file="$lab/log/munged.log" --seed-file="$lab/munge/seed"
    wait_for 10 munge_works
fi

# In /etc/slurm, since the executor takes every SLURM_ variable away from its jobs, SLURM_CONF too.
cat >"$lab/etc/slurm.conf" <<CONF
ClusterName=covbench
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdPidFile=$lab/run/slurmd.%n.pid
SlurmdLogFile=$lab/log/slurmd.%n.log
SlurmdSpoolDir=$lab/spool/%n
StateSaveLocation=$lab/state
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=2,sched_interval=5,batch_sched_delay=1
SlurmctldTimeout=20
SlurmdTimeout=15
KillWait=10
UnkillableStepTimeout=10
AuthInfo=cred_expire=10
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=8 RealMemory=32000 Gres=gpu:pretended:2 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=8 RealMemory=32000 Gres=gpu:pretended:2 State=UNKNOWN
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=1-0 DefaultTime=60 PriorityTier=10 State=UP
PartitionName=gpu Nodes=n[1-2] MaxTime=1-0 DefaultTime=60 PriorityTier=10 State=UP
PartitionName=scavenge Nodes=n[1-2] MaxTime=1-0 DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE State=UP
CONF
{
    echo "AutoDetect=off"
    for node in n1 n2; do
        for gpu in 0 1; do # a copy of /dev/null: a plain file is refused; the digit at its end is the CUDA index
            [ -c "$lab/dev/${node}_gpu$gpu" ] || mknod "$lab/dev/${node}_gpu$gpu" c 1 3
        done
        echo "NodeName=$node Name=gpu Type=pretended File=$lab/dev/${node}_gpu[0-1]"
    done
} >"$lab/etc/gres.conf"
printf 'CgroupPlugin=cgroup/v1\nIgnoreSystemd=yes\n' >"$lab/etc/cgroup.conf"
for name in slurm gres cgroup; do ln -sfn "$lab/etc/$name.conf" "/etc/slurm/$name.conf"; done

runs slurmctld || slurmctld
wait_for 30 sh -c 'scontrol ping | grep -q "is UP"'
for node in n1 n2; do
    runs "slurmd.$node" || { mkdir -p "$lab/spool/$node"; slurmd -N "$node"; }
    scontrol update nodename="$node" state=resume 2>/dev/null || true
done
wait_for 30 sh -c '[ "$(sinfo -h -N -p cpu -t idle,mixed,allocated,completing -o %N | sort -u | wc -l)" = 2 ]'
