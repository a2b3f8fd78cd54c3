# Shell functions that spark-submit.sh and tests/run.sh share: find Java and Python, install a lock into .venv.
# To be sourced, after ROOT (the project's folder) is set. Everything is said on stderr. Bash 3.2 is enough (macOS).

VENV="$ROOT/.venv"
INSTALL_JAVA="install Java 17 or 21 (Debian, Ubuntu: sudo apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), or set JAVA_HOME to one"
INSTALL_PYTHON="install one (Debian, Ubuntu: sudo apt-get install python3.11 python3.11-venv; macOS: brew install python@3.12), or name one with PYTHON=/path/to/python3.x"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Stops unless the Java that Spark is going to use is one that it runs on.
check_java() {
  local java version major
  if [ -n "${JAVA_HOME:-}" ]; then
    java="$JAVA_HOME/bin/java"
    [ -x "$java" ] || fail "JAVA_HOME is $JAVA_HOME, which has no bin/java: $INSTALL_JAVA."
  else
    java=$(command -v java) || fail "No Java found: $INSTALL_JAVA."
  fi
  # macOS has a /usr/bin/java that only says that there is none.
  version=$("$java" -version 2>&1) || fail "No Java found ($java does not run): $INSTALL_JAVA."
  major=$(printf '%s\n' "$version" | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9][0-9]*\).*/\2/p' | head -n 1)
  case "$major" in
    '') fail "Cannot tell the version of $java: $INSTALL_JAVA." ;;
    *) if [ "$major" -lt 17 ]; then
         fail "Java $major ($java) is too old for Spark 4.1: $INSTALL_JAVA."
       elif [ "$major" -gt 21 ]; then
         fail "Java $major ($java) is too new for Spark 4.1: $INSTALL_JAVA."
       fi ;;
  esac
}

# Sets FOUND_PYTHON to the first Python 3.10 to 3.13 that can make virtual environments, or stops.
find_python() {
  local name answer unsuitable="" incomplete=""
  FOUND_PYTHON=""
  local names=(python3.13 python3.12 python3.11 python3.10 python3)
  [ -z "${PYTHON:-}" ] || names=("$PYTHON")
  for name in "${names[@]}"; do
    answer=$("$name" -c '
import importlib.util, sys
whole = importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")
print("%d.%d" % sys.version_info[:2], "whole" if whole else "incomplete")' 2>/dev/null) || continue
    case "$answer" in
      3.1[0-3]\ whole) FOUND_PYTHON=$name; return ;;
      3.1[0-3]\ *) incomplete="${incomplete:-${answer% *}}" ;;
      *) unsuitable="${unsuitable:+$unsuitable, }$name is ${answer% *}" ;;
    esac
  done
  [ -z "$incomplete" ] || fail "Python $incomplete has no venv module: install it (Debian, Ubuntu: sudo apt-get install python$incomplete-venv), or name another Python with PYTHON=/path/to/python3.x."
  fail "No Python 3.10 to 3.13 found${unsuitable:+ ($unsuitable)}: $INSTALL_PYTHON."
}

# installed LOCK: is .venv whole and does it hold this very lock?
installed() {
  [ -x "$VENV/bin/python" ] && grep -qxF "$(stamp_of "$1")" "$VENV/.installed" 2>/dev/null
}

stamp_of() { printf '%s %s\n' "${1##*/}" "$(cksum < "$1")"; }

# ensure_venv LOCK [LOCK_IT_CONTAINS...]: install a lock into .venv unless it is there. The stamp is written last, so an
# interrupted installation is begun anew; concurrent first uses wait for one another.
ensure_venv() {
  installed "$1" && return
  find_python
  exec 9< "$ROOT/conf/env.sh"
  # macOS has no flock command; the lock belongs to the open file, which outlives this Python and ends with fd 9.
  "$FOUND_PYTHON" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
  installed "$1" || install_lock "$@"
  exec 9<&-
}

install_lock() {
  local lock
  # What lies behind a link may be the environment of another checkout, in use.
  [ ! -L "$VENV" ] || fail "$VENV is a link to an environment that does not hold ${1##*/}: remove the link, and the next run installs one here."
  say "Installing the dependencies (${1##*/}) into .venv with $FOUND_PYTHON; this happens once and takes a few minutes ..."
  # Without a stamp an earlier installation was cut short, and what it left is not to be trusted.
  if [ ! -f "$VENV/.installed" ] || [ ! -x "$VENV/bin/python" ]; then
    "$FOUND_PYTHON" -m venv --clear "$VENV" >&2 || fail "Could not create $VENV (see above)."
  fi
  rm -f "$VENV/.installed"
  "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r "$1" >&2 ||
    fail "Could not install the dependencies (see above): check the network and the space on the disk, then run the same command again."
  for lock in "$@"; do stamp_of "$lock"; done > "$VENV/.installing"
  mv "$VENV/.installing" "$VENV/.installed"
}
