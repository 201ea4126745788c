#!/bin/bash
# The layout is the dependency order: a folder of daemon/ includes itself and folders before it, nothing after. Also refuses
# file names that say nothing, and headers that do not compile alone. Prints each offence; exit status 1 when there is one.
#   check-includes.sh [--fast]    --fast: without compiling the headers
set -euo pipefail
cd "$(dirname "$0")/.."

order="base format io source pool doors image trace ksm api cli keeper"
# Neighbours in that order that must not know each other: io stands on base alone, doors take what they need from the pool
# through an interface of their own, and the keeper knows nothing but doors.
forbidden="io:format doors:format doors:source doors:pool keeper:pool keeper:image"

wrong_includes() {
  grep -rnE '^ *# *include "[a-z_]+/' daemon/*/ --include='*.h' --include='*.cc' |
    awk -F: -v order="$order" -v forbidden="$forbidden" '
      BEGIN {
        for (i = split(order, folders, " "); i > 0; i--) rank[folders[i]] = i
        for (i = split(forbidden, pairs, " "); i > 0; i--) never[pairs[i]]
      }
      {
        split($1, path, "/"); from = path[2]
        split($3, quoted, "\""); split(quoted[2], target, "/"); to = target[1]
        if (!(to in rank)) next
        if (!(from in rank)) print $1 ": folder " from "/ has no place in the order of this script"
        else if (rank[to] > rank[from]) print $1 ":" $2 ": includes " to "/, which comes after " from "/"
        else if ((from ":" to) in never) print $1 ":" $2 ": " from "/ must not know " to "/"
      }'
}

empty_names() {
  git ls-files daemon snapshotter bpf kmod-tools | grep -iE '(^|[/_])(util|helper|manager|common|misc)s?\.(cc|h|c)$' |
    sed 's/$/: the name says nothing/' || true
}

# Every header is the only include of a program of its own.
headers_alone() {
  git ls-files 'daemon/*.h' 'snapshotter/*.h' | xargs -r -P "$(nproc)" -I{} sh -c \
    'echo "#include \"{}\"" | g++ -std=c++20 -fsyntax-only -w -I. -Idaemon -Isnapshotter -x c++ - >/dev/null 2>&1 || echo "{}: does not compile alone"'
}

found=$(wrong_includes; empty_names; [ "${1:-}" = --fast ] || headers_alone)
[ -z "$found" ] || { echo "$found"; exit 1; }
