# SPDX-License-Identifier: Apache-2.0
# Runs as /bin/sh -s on the host, whatever the login shell is, where the runner did not lie in the first of its places
# (direct_command in bootstrap.cpp). The client puts before it: nonce=… directory=… and
# for each architecture name_…= hash_…= size_…= of its runner. POSIX only; few processes, as each start waits for it.

# Nothing before such a line is ours: login scripts may print what they like.
say() { printf '\n%s-%s %s\n' TRAINCTL "$nonce" "$1"; }

stop() {
  say "error $1 $2"  # not $*: main() joins by line ends
  exit 3
}

# Whether a runner may be executed is found by executing it. It says itself that it begins; when it could not, the next
# place is tried.
start() {
  "$1" stdio --begin "$nonce" "$store"
  code=$?
  case $code in
    126 | 127) ;;
    *) exit "$code" ;;
  esac
}

find_root() {
  case $directory in
    '~') root=$HOME ;;
    '~/'*) root=$HOME/${directory#'~/'} ;;
    *) root=$directory ;;
  esac
  case $root in
    /*) ;;
    *) stop home "HOME is \"$HOME\"" ;;
  esac
  store=$root/store
  [ -d "$store" ] || problem=$( (umask 077 && mkdir -p "$store") 2>&1) || stop directory "$problem"
  [ -w "$store" ] && [ -x "$store" ] || stop directory "$store cannot be written"
}

find_architecture() {
  machine=$(uname -sm) || stop system "uname does not work"
  case $machine in
    'Linux x86_64' | 'Linux amd64') architecture=x86_64 name=$name_x86_64 hash=$hash_x86_64 size=$size_x86_64 ;;
    'Linux aarch64' | 'Linux arm64') architecture=aarch64 name=$name_aarch64 hash=$hash_aarch64 size=$size_aarch64 ;;
    *) stop system "$machine" ;;
  esac
  [ -n "$hash" ] || stop runner "$architecture"
}

# The folders that a runner may lie in. The last one is shared with strangers: only as a folder of ours.
list_places() {
  places=$root/bin
  [ -z "$HOME" ] || [ "$root" = "$HOME/.trainctl" ] || places="$places
$HOME/.trainctl/bin"
  places="$places
/var/tmp/trainctl-$(id -u)"
}

is_ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }

start_from() {
  [ -x "$1/$name" ] && is_ours "$1" && start "$1/$name"
}

start_present() {
  start_from "$root/bin"
  list_places
  for place in $places; do start_from "$place"; done
}

# What came in part would take the room that is missing.
give_up() {
  rm -f "$draft"
  stop "$1" "$2$root/bin"
}

receive() {
  (umask 077 && mkdir -p "$root/bin") 2>/dev/null
  draft=$root/bin/.$name.$$
  say "need $architecture"
  (umask 077 && head -c "$size" >"$draft") || give_up full "$size "
  [ "$(wc -c <"$draft")" -eq "$size" ] || give_up full "$size "
  if command -v sha256sum >/dev/null 2>&1; then
    case $(sha256sum "$draft") in
      "$hash "*) ;;
      *) give_up corrupt "" ;;
    esac
  fi
  chmod 700 "$draft"
}

# Moves the draft to the first place where it may be executed; it tells its own hash, so that it is whole there too.
install_draft() {
  for place in $places; do
    (umask 077 && mkdir -p "$place") 2>/dev/null
    is_ours "$place" || continue
    copy=$place/.$name.$$
    [ "$copy" = "$draft" ] || cp "$draft" "$copy" 2>/dev/null || continue
    if [ "$("$copy" --sha256 2>/dev/null)" = "$hash" ] && mv -f "$copy" "$place/$name"; then
      rm -f "$draft"
      "$place/$name" sweep "$place" "$store" >/dev/null 2>&1 </dev/null &
      start "$place/$name"
    fi
    [ "$copy" = "$draft" ] || rm -f "$copy"
  done
  rm -f "$draft"
  stop noexec "$(printf %s "$places" | tr '\n' ' ')"
}

main() {
  set -f
  IFS='
'
  find_root
  find_architecture
  start_present
  receive
  install_draft
}

main
