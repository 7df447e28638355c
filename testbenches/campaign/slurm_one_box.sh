#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A Slurm cluster of three nodes on this machine, on loopback only, for tests:
#   slurm_one_box.sh start DIR     then export SLURM_CONF=DIR/slurm.conf
#   slurm_one_box.sh stop DIR
# Needs root and Debian's slurmctld, slurmd, slurm-client, munge. Exit code 77: something of that is missing.
set -eu
action=${1:?start or stop} dir=${2:?a directory}
host=$(hostname -s)

if [ "$action" = stop ]; then
  for f in "$dir"/*.pid; do
    if [ -s "$f" ]; then kill "$(cat "$f")" 2>/dev/null || true; fi
  done
  exit 0
fi

for tool in slurmctld slurmd sbatch munged; do
  command -v "$tool" >/dev/null || { echo "$tool is missing (apt-get install slurmctld slurmd slurm-client munge)" >&2; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 77; }

mkdir -p "$dir"/state
if [ ! -S /run/munge/munge.socket.2 ]; then
  mkdir -p /run/munge /var/log/munge /var/lib/munge
  chown munge:munge /run/munge /var/log/munge /var/lib/munge
  chmod 755 /run/munge
  runuser -u munge -- /usr/sbin/munged
  cp /run/munge/munged.pid "$dir"/munged.pid 2>/dev/null || true
fi
cat > "$dir"/slurm.conf <<EOF
ClusterName=onebox
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=${SLURM_ONE_BOX_PORT:-16817}
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=10
# What was queued again may start after so many seconds (120 by default).
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
NodeName=n[1-3] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17003] CPUs=1
PartitionName=main Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP
EOF
export SLURM_CONF="$dir"/slurm.conf
slurmctld -f "$SLURM_CONF" -c
for n in 1 2 3; do
  mkdir -p "$dir"/spool.n$n
  slurmd -f "$SLURM_CONF" -N n$n -c
done
for i in $(seq 1 100); do
  [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 3 ] && exit 0
  sleep 0.1
done
echo "the nodes did not come up; see $dir/*.log" >&2
exit 1
