# shellcheck shell=bash
# Sourced by scripts whose first argument may be --dry_run.
#
#   run COMMAND...    runs a command, or only prints it, as a line for a shell

dry_run=
if [ "${1:-}" = --dry_run ]; then
  dry_run=yes
  shift
fi

run() {
  if [ -z "$dry_run" ]; then
    "$@"
    return
  fi
  local word line=()
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
    line+=("$word")
  done
  echo "${line[*]}"
}
