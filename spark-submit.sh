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

Executors of a cluster are sent the package and .venv (docs/cluster.md). --installed, or a PYSPARK_PYTHON of yours, says
that they have the environment already. Settings of each kind of cluster are in conf/spark/; --properties-file or
SPARK_CONF_DIR name others.
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

# setting KEY: what is said about it on the command line or in the file of properties that Spark is going to read.
setting() {
  local i found=""
  for ((i = 0; i + 1 < ${#options[@]}; i++)); do
    case "${options[i]} ${options[i + 1]}" in
      "--conf $1="* | "-c $1="*) found=${options[i + 1]#*=} ;;
    esac
  done
  printf '%s' "${found:-$(property "${properties:-$SPARK_CONF_DIR/spark-defaults.conf}" "$1")}"
}

DRIVER_MEMORY="${SPARK_DRIVER_MEMORY:-3g}"
master="" properties="" py_files="" archives="" remote="" deploy_mode="" installed="${PYSPARK_PYTHON:+yes}" job=""
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --installed) installed=yes; shift; continue ;;
    -v | --verbose | --supervise | --load-spark-defaults) options+=("$1"); shift; continue ;;
    --*=*) name=${1%%=*} value=${1#*=}; shift ;;
    -*)
      [ $# -gt 1 ] || fail "spark-submit option $1 needs a value."
      name=$1 value=$2; shift 2 ;;
    *) job=$1; shift; break ;;
  esac
  case "$name" in
    --py-files) py_files=$value; continue ;; # ours are added to these below
    --archives) archives=$value; continue ;;
    --master) master=$value ;;
    --remote) remote=$value ;;
    --properties-file) properties=$value ;;
    --deploy-mode) deploy_mode=$value ;;
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
our_settings="${SPARK_CONF_DIR:-yes}"
export SPARK_HOME SPARK_DRIVER_MEMORY="$DRIVER_MEMORY"
export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$ROOT/conf}"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# Spark's own precedence, to know what executors need; only the last resort is ours.
[ -n "$master" ] || master=$(setting spark.master)
[ -n "$master" ] || master=${MASTER:-}
if [ -z "$master$remote" ]; then
  master='local[*,4]' # four attempts: local[N] never retries a task
  options=(--master "$master" ${options[@]+"${options[@]}"})
fi
[ -n "$deploy_mode" ] || deploy_mode=$(setting spark.submit.deployMode)
case "$master" in
  '' | local | local\[*) manager=local ;; # '' is --remote
  local-cluster*) manager=local-cluster ;;
  spark://*) manager=standalone ;;
  yarn) manager=yarn ;;
  k8s://*) manager=kubernetes ;;
  *) manager=other ;;
esac
if [ "$manager-$deploy_mode" = standalone-cluster ]; then
  fail "Spark's standalone clusters do not run Python drivers (--deploy-mode cluster): submit with --deploy-mode client from a machine of the cluster's network, or to YARN or Kubernetes."
fi

if [ "$manager" != local ]; then
  package=$("$VENV/bin/python" "$ROOT/conf/ship.py" package "$ROOT" "$VENV")
  py_files=${py_files:-$(setting spark.submit.pyFiles)} # the option hides the setting
  py_files="${py_files:+$py_files,}$package"
fi
case "$manager" in
  local | local-cluster) export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$VENV/bin/python}" ;;
  *)
    archives=${archives:-$(setting spark.archives)}
    archives=${archives:-$(setting spark.yarn.dist.archives)}
    if [ -z "$installed" ]; then
      case "$archives" in
        *'#environment' | *'#environment,'*) ;; # one of the caller's
        *) whose=executors
           [ "$deploy_mode" != cluster ] || whose=driver # with all that the driver imports
           environment=$("$VENV/bin/python" "$ROOT/conf/ship.py" "$whose" "$ROOT" "$VENV") || exit
           archives="${archives:+$archives,}$environment#environment" ;;
      esac
      export PYSPARK_PYTHON=./environment/bin/python
    fi
    export PYSPARK_PYTHON="${PYSPARK_PYTHON:-python3}" ;;
esac
[ -z "$py_files" ] || options+=(--py-files "$py_files")
[ -z "$archives" ] || options+=(--archives "$archives")
if [ "$our_settings$properties$remote" = yes ] && [ -f "$ROOT/conf/spark/$manager.conf" ]; then
  options+=(--properties-file "$ROOT/conf/spark/$manager.conf" --load-spark-defaults)
fi

if [ "$deploy_mode" = cluster ] || [ -n "$remote" ]; then
  # The driver's Python is where the driver is: the archive's, unless the caller has set PYSPARK_DRIVER_PYTHON.
  [ "$deploy_mode" = cluster ] || export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$VENV/bin/python}"
  exec "$SPARK_HOME/bin/spark-submit" ${options[@]+"${options[@]}"} "$job" "$@"
fi
export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$VENV/bin/python}"

# spark-submit would merge a Python driver's stderr into its stdout. So in client mode the driver is started here, and
# pyspark starts spark-submit with these options for the JVM.
submit_args=""
for option in ${options[@]+"${options[@]}"}; do
  submit_args="$submit_args'$(printf '%s' "$option" | sed "s/'/'\\\\''/g")' "
done
export PYSPARK_SUBMIT_ARGS="${submit_args}pyspark-shell"
exec "$PYSPARK_DRIVER_PYTHON" "$job" "$@"
