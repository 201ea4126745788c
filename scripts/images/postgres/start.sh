#!/bin/bash
# `ready`: a new database cluster has answered a query. Over a socket: the container has no /etc/hosts.
export bin=/usr/lib/postgresql/15/bin data=/var/lib/postgresql/data
exec setpriv --reuid postgres --regid postgres --clear-groups bash -c '
  "$bin/initdb" -D "$data" -N >/dev/null &&
    "$bin/pg_ctl" -D "$data" -s -w -o "-k /tmp -h \"\"" start >/dev/null &&
    [ "$(psql -h /tmp -tAc "select 40 + 2" postgres)" = 42 ] && echo ready
  "$bin/pg_ctl" -D "$data" -m immediate -s stop'
