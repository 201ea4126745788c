#!/bin/bash
# The layout is the dependency order: a folder of daemon/ includes itself and folders before it, nothing after. Also refuses
# file names that say nothing, and headers that do not compile alone. Prints each offence; exit status 1 when there is one.
#   check-includes.sh [--fast]    --fast: without compiling the headers
set -euo pipefail
cd "$(dirname "$0")/.."

order=(base format io source pool doors image trace ksm api cli keeper)
# Folders that must not know each other although one comes first: format and io are both above base only, doors take what
# they need from the pool through an interface of their own.
forbidden=(io:format doors:format doors:source doors:pool keeper:pool keeper:image)
failed=0
offence() { echo "$*"; failed=1; }

rank() {
  local i
  for i in "${!order[@]}"; do [ "${order[$i]}" != "$1" ] || { echo "$i"; return; }; done
  echo 99
}

while IFS=: read -r file _ line; do
  folder=$(cut -d/ -f2 <<<"$file")
  [[ $file == daemon/*/* ]] || continue
  target=$(sed -E 's/.*"([a-z_]+)\/.*/\1/' <<<"$line")
  [[ " ${order[*]} " == *" $target "* ]] || continue
  [ "$(rank "$target")" -le "$(rank "$folder")" ] || offence "$file includes $target/, which comes after $folder/"
  [[ " ${forbidden[*]} " != *" $folder:$target "* ]] || offence "$file includes $target/: $folder/ must not know it"
done < <(grep -rnE '^#include "[a-z_]+/' daemon --include='*.h' --include='*.cc')

while read -r file; do offence "$file: the name says nothing"; done < <(
  git ls-files daemon snapshotter bpf | grep -iE '(util|helper|manager|common|misc)s?\.(cc|h|c)$' || true)

alone() { g++ -std=c++20 -fsyntax-only -Idaemon -x c++ -include "$1" /dev/null 2>/dev/null || echo "$1 does not compile alone"; }
export -f alone
if [ "${1:-}" != --fast ]; then
  while read -r line; do offence "$line"; done < <(
    git ls-files 'daemon/*.h' | xargs -P "$(nproc)" -I{} bash -c 'alone {}')
fi
exit $failed
