#!/usr/bin/env bash
# Makes .venv: a Python from 3.11 to 3.13, Autophage in editable form with the extra for this machine, and the tools of
# the tests. Done once; it asks again only when pyproject.toml, this script, the folder or the extra changed.
#
#     scripts/setup.sh [cpu|gpu]      without an argument: what .venv has, else gpu where an NVIDIA driver answers
#
# Everything lands in .venv (and in uv's and pip's caches). The indexes and link folders that pip is told to use are
# passed on to uv, which does not read pip's settings.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.autophage-setup
IN_WINDOW='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14) and sys.implementation.name == "cpython"))'

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# --- what is asked for, and whether it is there already --------------------------------------------------------------

choose_extra() {  # prints the extra and, after a blank, why
  if [ -n "${1:-}" ]; then
    echo "$1 as asked for"
  elif [ -f $STAMP ]; then
    echo "$(sed -n 's/^extra //p' $STAMP) as before"
  elif nvidia-smi >/dev/null 2>&1; then
    echo "gpu because an NVIDIA driver answers"
  else
    echo "cpu because no NVIDIA driver answers"
  fi
}

stamp() {  # what this environment is made from
  printf 'extra %s\nfolder %s\ncontent %s\n' "$EXTRA" "$PWD" "$(cat pyproject.toml scripts/setup.sh | cksum)"
}

# --- Python and uv ---------------------------------------------------------------------------------------------------

find_python() {  # prints the first Python of the window; a name on PATH may be a shim without a Python behind it
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c "$IN_WINDOW" >/dev/null 2>&1; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
}

is_usable_uv() { "$1" pip install --help 2>/dev/null | grep -- --torch-backend >/dev/null; }  # older ones lack it

find_uv() {
  local uv
  for uv in uv "${HOME:-}/.local/bin/uv" $VENV/uv/bin/uv; do
    if is_usable_uv "$uv"; then
      echo "$uv"
      return
    fi
  done
}

bootstrap_uv() {  # with pip, into .venv/uv: nothing outside this folder changes
  local python=$1 log
  log=$(mktemp)
  export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
  if { "$python" -m venv $VENV/uv && $VENV/uv/bin/python -m pip install --quiet uv; } >"$log" 2>&1 ||
    { rm -rf $VENV/uv && "$python" -m pip install --quiet --target $VENV/uv uv; } >>"$log" 2>&1; then
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    fail "uv is not on PATH, and $python could not install it (its messages stand above)." \
      "Install uv (https://docs.astral.sh/uv/getting-started/installation/) and run 'make setup' again."
  fi
}

# --- what pip is told, said to uv ------------------------------------------------------------------------------------

pip_setting() {  # pip_setting index-url LISTING: the environment variable, else what `pip config list` says
  local variable="PIP_$(tr 'a-z-' 'A-Z_' <<<"$1")"
  if [ -n "${!variable:-}" ]; then
    echo "${!variable}"
  else
    sed -n -E "s/^(global|install)\.$1='(.*)'\$/\2/p" <<<"$2" | tail -n 1 | sed 's/\\n/ /g'
  fi
}

words() {  # on one line, a blank between them
  local -a list
  read -r -d '' -a list <<<"$1" || true
  echo "${list[*]-}"
}

have_cpu_torch() {  # whether a link folder has the CPU build for this Python; a link that is a URL is taken to
  local tag link
  tag=$($VENV/bin/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
  for link in $1; do
    case $link in
      http://* | https://*) return 0 ;;
      file://*) link=${link#file://} ;;
    esac
    if compgen -G "$link/torch-*+cpu-$tag-*$(uname -m).whl" >/dev/null; then
      return 0
    fi
  done
  return 1
}

translate_pip_settings() {
  local listing index links
  listing=$("$1" -m pip config list 2>/dev/null || true)
  index=$(pip_setting index-url "$listing")
  links=$(words "$(pip_setting find-links "$listing")")
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX=$index
  fi
  # An extra index adds to PyPI and has nothing that Autophage lacks there, so only one given for this shell counts. pip
  # takes the best version over all indexes; uv would take the first index that knows the name.
  if [ -n "${PIP_EXTRA_INDEX_URL:-}" ] && [ -z "${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ]; then
    export UV_INDEX=$(words "$PIP_EXTRA_INDEX_URL") UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}
  fi
  # A torch of the same version with "+cpu" counts as newer: on a GPU machine, such a folder would hide the CUDA build.
  if [ -n "$links" ] && [ -z "${UV_FIND_LINKS:-}" ] && { [ "$EXTRA" = cpu ] || ! have_cpu_torch "$links"; }; then
    export UV_FIND_LINKS=${links// /,}
  fi
  if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
    export SSL_CERT_FILE=$PIP_CERT
  fi
}

# --- the environment -------------------------------------------------------------------------------------------------

keep_or_remove_venv() {  # an environment of another extra, another folder or a Python that is gone cannot be mended
  [ -e $VENV ] || return 0
  local why=
  if ! $VENV/bin/python -c "$IN_WINDOW" >/dev/null 2>&1; then
    why="it has no working Python from 3.11 to 3.13"
  elif [ -f $STAMP ] && [ "$(sed -n 's/^folder //p' $STAMP)" != "$PWD" ]; then
    why="it was made for another folder"
  elif [ -f $STAMP ] && [ "$(sed -n 's/^extra //p' $STAMP)" != "$EXTRA" ]; then
    why="it was made for the other extra"
  fi
  if [ -n "$why" ]; then
    say "making .venv anew: $why"
    rm -rf $VENV
  fi
}

make_venv() {
  local python=$1
  if [ ! -e $VENV/bin/python ]; then
    "$UV" venv --quiet --allow-existing --python "${python:->=3.11,<3.14}" $VENV ||
      fail "no Python for .venv. Install Python 3.11, 3.12 or 3.13 and run 'make setup' again."
  fi
}

install() {
  local backend=()
  if [ "$EXTRA" = cpu ] && [ -z "${UV_TORCH_BACKEND:-}" ] && ! have_cpu_torch "$(tr , " " <<<"${UV_FIND_LINKS:-}")"; then
    backend=(--torch-backend=cpu)
  fi
  "$UV" pip install --python $VENV/bin/python ${backend[@]+"${backend[@]}"} -e ".[$EXTRA]" --group dev
}

main() {
  local why python any
  read -r EXTRA why <<<"$(choose_extra "${1:-}")"
  [ "$EXTRA" = cpu ] || [ "$EXTRA" = gpu ] || fail "the extra is cpu or gpu, not '$EXTRA'; for example: make setup EXTRA=cpu"
  if [ -f $STAMP ] && [ -x $VENV/bin/python ] && [ "$(stamp)" = "$(cat $STAMP)" ]; then
    return
  fi
  say "Autophage for $EXTRA, $why"
  keep_or_remove_venv
  rm -f $STAMP
  python=$(find_python)
  any=${python:-$(command -v python3 || true)}
  UV=$(find_uv)
  if [ -z "$UV" ]; then
    [ -n "$any" ] || fail "neither Python nor uv is on PATH." \
      "Install Python 3.11, 3.12 or 3.13 (or uv, which fetches one) and run 'make setup' again."
    say "uv is not on PATH or too old: fetching one into .venv/uv"
    bootstrap_uv "$any"
    UV=$(find_uv)
  fi
  [ -n "$python" ] || [ -e $VENV/bin/python ] || say "no Python from 3.11 to 3.13 on PATH: uv looks for one, or fetches it"
  make_venv "$python"
  translate_pip_settings "${any:-python3}"
  install
  stamp >$STAMP
  say "ready in $SECONDS s: $($VENV/bin/python --version), $EXTRA"
}

main "$@"
