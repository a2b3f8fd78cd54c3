#!/usr/bin/env bash
# spark-submit for the jobs of this project: installs what is missing, then hands over.
# What stands before the job goes to spark-submit, what stands after it to the job. stdout belongs to the job.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
# shellcheck source=conf/env.sh
. "$ROOT/conf/env.sh"

usage() {
  cat <<USAGE
Usage: ./spark-submit.sh [spark-submit options] jobs/JOB.py [job options]

Jobs (each has --help):
$(list_jobs)

Options of spark-submit, such as --master spark://host:7077 or --conf key=value, stand before the job.
Default: --master 'local[*,4]', SPARK_DRIVER_MEMORY=$DRIVER_MEMORY. PYTHON names the Python to make .venv with.
USAGE
}

# The first line of each job's docstring.
list_jobs() {
  local job
  for job in "$ROOT"/jobs/*.py; do
    [ -e "$job" ] || continue
    printf '  jobs/%-14s %s\n' "${job##*/}" "$(sed -n '/^"""/{s/^"""//;s/"""$//;p;q;}' "$job")"
  done
}

# property FILE KEY: its value in a file of Spark properties ("key value" or "key=value"), if it has one.
property() {
  [ -f "$1" ] || return 0
  sed -n "s/^[[:space:]]*${2//./\\.}[[:space:]=:]\{1,\}\(.*[^[:space:]]\)[[:space:]]*$/\1/p" "$1" | tail -n 1
}

DRIVER_MEMORY="${SPARK_DRIVER_MEMORY:-3g}"
master="" master_conf="" properties="" py_files="" remote="" deploy_mode="" job=""
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    -v | --verbose | --supervise) options+=("$1"); shift; continue ;;
    --*=*) name=${1%%=*} value=${1#*=}; shift ;;
    -*)
      [ $# -gt 1 ] || fail "spark-submit option $1 needs a value."
      name=$1 value=$2; shift 2 ;;
    *) job=$1; shift; break ;;
  esac
  case "$name" in
    --py-files) py_files=$value; continue ;; # ours is added to it below
    --master) master=$value ;;
    --remote) remote=$value ;;
    --properties-file) properties=$value ;;
    --deploy-mode) deploy_mode=$value ;;
    --conf | -c)
      case "$value" in
        spark.master=*) master_conf=${value#*=} ;;
        spark.submit.deployMode=*) deploy_mode=${deploy_mode:-${value#*=}} ;;
      esac ;;
  esac
  options+=("$name" "$value")
done

if [ -z "$job" ]; then
  usage >&2
  exit 2
elif [ ! -f "$job" ]; then
  [ -f "$ROOT/$job" ] || fail "There is no job at $job; ./spark-submit.sh --help lists the jobs."
  job="$ROOT/$job"
fi

check_java
ensure_venv "$ROOT/conf/requirements.lock"

SPARK_HOME="$(echo "$VENV"/lib/python3.*/site-packages/pyspark)"
[ -x "$SPARK_HOME/bin/spark-submit" ] || fail "pyspark is missing in $VENV: delete that folder and run the same command again."
export SPARK_HOME SPARK_DRIVER_MEMORY="$DRIVER_MEMORY"
export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$ROOT/conf}"
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$VENV/bin/python}"
export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$VENV/bin/python}"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# Spark's own precedence, to know whether executors see this folder; only the last resort is ours.
[ -n "$master" ] || master=$master_conf
[ -n "$master" ] || master=$(property "${properties:-$SPARK_CONF_DIR/spark-defaults.conf}" spark.master)
[ -n "$master" ] || master=${MASTER:-}
if [ -z "$master$remote" ]; then
  master='local[*,4]' # four attempts: local[N] never retries a task
  options=(--master "$master" ${options[@]+"${options[@]}"})
fi
case "$master" in
  '' | local | local\[*) ;; # '' is --remote
  *) package=$("$VENV/bin/python" "$ROOT/conf/ship.py" "$ROOT" "$VENV")
     py_files="${py_files:+$py_files,}$package" ;;
esac
[ -z "$py_files" ] || options+=(--py-files "$py_files")

[ -n "$deploy_mode" ] || deploy_mode=$(property "${properties:-$SPARK_CONF_DIR/spark-defaults.conf}" spark.submit.deployMode)
if [ "$deploy_mode" = cluster ] || [ -n "$remote" ]; then
  exec "$SPARK_HOME/bin/spark-submit" ${options[@]+"${options[@]}"} "$job" "$@"
fi

# spark-submit would merge a Python driver's stderr into its stdout. So in client mode the driver is started here, and
# pyspark starts spark-submit with these options for the JVM.
submit_args=""
for option in ${options[@]+"${options[@]}"}; do
  submit_args="$submit_args'$(printf '%s' "$option" | sed "s/'/'\\\\''/g")' "
done
export PYSPARK_SUBMIT_ARGS="${submit_args}pyspark-shell"
exec "$PYSPARK_DRIVER_PYTHON" "$job" "$@"
