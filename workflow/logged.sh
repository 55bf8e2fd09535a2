#!/usr/bin/env bash
# logged.sh LOG COMMAND...: run a command with its output in LOG.
#
# Snakemake removes the log of a job that failed or is retried. So what every attempt said is kept in a file beside it that no rule
# declares, LOG is a link to that, and a process that was killed without a word leaves its exit code there.
set -u
log=$1
shift
kept=${log%.log}.attempts.log
ln -sfn "$(basename "$kept")" "$log"
echo "--- $(date -u +%FT%TZ) on $HOSTNAME${SLURM_JOB_ID:+, SLURM job $SLURM_JOB_ID}" >> "$kept"
trap : TERM INT USR1 # the command acts on signals; this shell waits until it has
"$@" >> "$kept" 2>&1
code=$?
case $code in
    0) ;;
    75) echo "--- exit code 75: to be started again" >> "$kept" ;;
    137) echo "--- killed (SIGKILL): out of memory, or by somebody" >> "$kept" ;;
    *) echo "--- exit code $code" >> "$kept" ;;
esac
exit $code
