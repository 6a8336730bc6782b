#!/usr/bin/env bash
# Ends what start.sh began in the folder $1; with a node's name as $2 all that runs on that node, as if it had lost its power.
set -uo pipefail
lab=$1 node=${2:-}

kill_node() { # its daemon, and every process that a job started there, with the step that watches over it
    kill -KILL "$(cat "$lab/run/slurmd.$node.pid")"
    for place in /proc/[0-9]*; do
        tr '\0' '\n' 2>/dev/null <"$place/environ" | grep -qx "SLURMD_NODENAME=$node" || continue
        parent=$(awk '/^PPid/ {print $2}' "$place/status" 2>/dev/null)
        [ -n "$parent" ] && grep -q '^slurmstepd' "/proc/$parent/cmdline" 2>/dev/null && kill -KILL "$parent"
        kill -KILL "${place#/proc/}" 2>/dev/null
    done
}

if [ -n "$node" ]; then
    kill_node
    exit 0
fi
scancel --user="$(id -un)" 2>/dev/null
for daemon in slurmd.n1 slurmd.n2 slurmctld munged; do
    [ -s "$lab/run/$daemon.pid" ] && kill "$(cat "$lab/run/$daemon.pid")" 2>/dev/null
done
sleep 1
pkill -KILL -f slurmstepd 2>/dev/null
rm -f /etc/slurm/{slurm,gres,cgroup}.conf
exit 0
