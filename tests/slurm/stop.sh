#!/usr/bin/env bash
# Ends what start.sh began in the folder $1; with a node's name as $2 that node alone, as if it had lost its power.
set -uo pipefail
lab=$1 node=${2:-}
if [ -n "$node" ]; then
    kill -KILL "$(cat "$lab/run/slurmd.$node.pid")"
    pkill -KILL -f "slurmstepd: .*" 2>/dev/null
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
