#!/usr/bin/env bash
# Asks a public vulnerability database about every package of the environment, with pip-audit, which uv fetches for the occasion.
#
#   scripts/audit.sh [PYTHON]     PYTHON is .venv/bin/python when left out
#
# Exit code: 0 nothing is known, 1 something is (a table says what), 3 the audit could not be made (no network, no uv).
# Needs the network twice, for pip-audit and for the database, so it is a step of its own and no test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv/bin/python}
uv=$(command -v uv || command -v .venv/uv/bin/uv || true)  # the second is where scripts/setup.sh puts its own
if [ -z "$uv" ]; then
    echo "audit: needs uv; \`make setup\` gets it" >&2
    exit 3
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
list=$scratch/installed.txt report=$scratch/report.txt
# A local version (torch 2.13.0+cpu) is a build of the public one, which the database knows; this checkout is not in it.
"$uv" pip freeze --python "$python" | sed -n 's/^\([A-Za-z0-9._-]*==[^+ ;]*\).*/\1/p' >"$list"
echo "audit: $(wc -l <"$list") packages" >&2
if ! "$uv" tool run pip-audit --version >/dev/null 2>&1; then
    echo "audit: pip-audit cannot be fetched here; nothing was looked up" >&2
    exit 3
fi
if "$uv" tool run pip-audit --requirement "$list" --output "$report" --no-deps --disable-pip \
    --vulnerability-service "${AUDIT_SERVICE:-osv}"; then
    exit 0
fi
if [ ! -s "$report" ]; then  # it ends with 1 in either case
    echo "audit: the database did not answer; nothing is known" >&2
    exit 3
fi
cat "$report"
exit 1
