#!/usr/bin/env bash
# Goes through all that install.sh and server.sh offer, in a folder of its own, and ends at the first thing that is wrong.
#   deploy/postgres/try.sh              with what is installed
#   deploy/postgres/try.sh install      first installs from nothing, into the same folder; needs the mirror
#
# What it leaves behind after a failure is said at the end; after a success it is nothing.
#
# Not here: how fast PostgreSQL is, and what hivemem makes of it.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
one=$work/one
two=$work/two
begun=$EPOCHREALTIME

server() {
    timeout 120 "$here/server.sh" "$@"
}

# psql as the application, with what a script needs.
ask() {
    server psql "$one" -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

milliseconds() {
    echo $(((${2/./} - ${1/./}) / 1000))
}

# Says how long the step before took, and what comes now.
step() {
    local now=$EPOCHREALTIME
    [[ -z ${name:-} ]] || printf '%6d ms  %s\n' "$(milliseconds "$begun" "$now")" "$name"
    name=${1:-}
    begun=$EPOCHREALTIME
}

wrong() {
    echo "wrong: $*" >&2
    exit 1
}

# For the end, however it comes.
finish() {
    if [[ -z ${name:-} ]]; then rm -rf "$work"; else echo "not well: $name; look into $work, then destroy $one" >&2; fi
}

# same WHAT EXPECTED FOUND
same() {
    [[ $2 == "$3" ]] || wrong "$1 is '$3', not '$2'"
}

# Asks until the answer is the first word, for some seconds.
soon() {
    local expected=$1 found
    for _ in {1..100}; do
        found=$(ask "${@:2}" 2>&1) || true
        [[ $found != "$expected" ]] || return 0
        sleep 0.1
    done
    wrong "the answer stays '$found', not '$expected'"
}

refused() {
    ! "$@" > "$work/out" 2>&1 || wrong "was not refused: $*"
}

port() {
    cat "$one/$1.port"
}

try_install() {
    export HIVEMEM_POSTGRES_HOME=$work/home
    step "an install that is killed counts for nothing"
    setsid "$here/install.sh" 2> /dev/null &
    local pid=$!
    until compgen -G "$work/home/new.*/tree/usr/lib/postgresql" > /dev/null; do
        kill -0 "$pid" || wrong "it ended by itself"
        sleep 0.02
    done
    kill -KILL -- "-$pid"
    { wait "$pid" || true; } 2> /dev/null
    [[ ! -e $work/home/tree ]] || wrong "there is a tree"
    refused server start "$one"
    step "two installs at once, from nothing"
    "$here/install.sh" > "$work/first" &
    same "the tree" "$work/home/tree" "$("$here/install.sh")"
    wait $!
    same "the other's tree" "$work/home/tree" "$(cat "$work/first")"
    same "what is left beside it" "lock tree" "$(cd "$work/home" && echo *)"
}

try_start() {
    local first second
    step "two starts at once make one server"
    exec {held}> "$work/held"
    flock "$held"
    server start "$one" > "$work/first" &
    second=$(server start "$one" 2>&1)
    wait $!
    first=$(cat "$work/first")
    same "what the second printed" "$first" "$second"
    same "what env prints" "$first" "$(server env "$one")"
    step "the server holds nothing of its starter's"
    exec {held}>&-
    flock --nonblock "$work/held" true || wrong "a lock is still held"
    same "who may read the passwords" 600 "$(stat -L -c %a "$one/server/passwords")"
    step "settings are what was promised"
    same "settings" "on scram-sha-256 UTF8 UTC on 127.0.0.1 200" "$(ask -F ' ' -U postgres -c "select
        current_setting('data_checksums'), current_setting('password_encryption'), current_setting('server_encoding'),
        current_setting('timezone'), current_setting('fsync'), current_setting('listen_addresses'),
        current_setting('max_connections')")"
    same "collation" C.UTF-8 "$(ask -c "select datcollate from pg_database where datname = 'hivemem'")"
    same "the role" "f t hivemem" "$(ask -F ' ' -c "select rolsuper, rolcreatedb, pg_get_userbyid(datdba)
        from pg_roles, pg_database where rolname = current_user and datname = current_database()")"
    refused ask -c 'select 1' password=wrong
}

try_vectors() {
    step "vectors, whole and half, with their index, by the application"
    ask > /dev/null <<'SQL'
create table notes (id int primary key, whole vector(3), half halfvec(3));
create index on notes using hnsw (whole vector_cosine_ops);
create index on notes using hnsw (half halfvec_l2_ops) with (m = 8, ef_construction = 32);
insert into notes select i, array[i, 1, 0]::vector, array[i, 1, 0]::halfvec from generate_series(1, 500) i;
SQL
    same "the nearest" "7 7" "$(ask -F ' ' <<'SQL'
set enable_seqscan = off;
set hnsw.iterative_scan = strict_order;
select (select id from notes order by half <-> '[7,1,0]' limit 1), (select id from notes order by whole <=> '[7,1,0]' limit 1);
SQL
)"
}

# graph NAME [WHERE]: makes a graph, asks it, and removes it.
graph() {
    same "who is two steps from 1" '3' "$(ask "${@:2}" <<SQL | grep -v '^$'
begin;
set client_min_messages = warning;
set local search_path = public, ag_catalog;
select create_graph('$1');
select * from cypher('$1', \$\$ create (:Note {id: 1})-[:LEADS]->(:Note {id: 2})-[:LEADS]->(:Note {id: 3}) \$\$) as (x agtype);
commit;
begin;
set local search_path = public, ag_catalog;
select * from cypher('$1', \$\$ match (:Note {id: 1})-[:LEADS*2]->(n) return n.id \$\$) as (id agtype);
commit;
begin;
set client_min_messages = warning;
set local search_path = public, ag_catalog;
select drop_graph('$1', true);
commit;
SQL
)"
    same "graphs that are left" 0 "$(ask -c 'select count(*) from ag_catalog.ag_graph')"
}

try_bouncer() {
    step "a bouncer"
    server bouncer "$one" > "$work/env"
    grep -q "^HIVEMEM_TEST_POSTGRES_BOUNCER_URL=.*:$(port bouncer)/hivemem$" "$work/env" || wrong "no URL of it"
    step "a graph, by the application"
    graph straight
    step "a graph, by the application, through the bouncer"
    graph bounced -p "$(port bouncer)"
    step "prepared statements through the bouncer"
    if [[ $(ask -c 'show server_version_num') -ge 180000 ]]; then
        # shellcheck disable=SC2016  # The variable is PostgreSQL's.
        same "answers" "5 6 " "$(printf '%s\n' 'select $1::int \parse s' '\bind_named s 5 \g' 'begin;' '\bind_named s 6 \g' \
            'commit;' | ask -p "$(port bouncer)" | tr '\n' ' ')"
    fi
    step "a bouncer that was killed comes back"
    server kill "$one" bouncer
    refused server status "$one"
    server bouncer "$one" > /dev/null
    same "the answer" 1 "$(ask -p "$(port bouncer)" -c 'select 1')"
}

try_databases() {
    local before after
    step "a further database, by command"
    before=$EPOCHREALTIME
    server database "$one" further > "$work/url"
    after=$EPOCHREALTIME
    (($(milliseconds "$before" "$after") < 2000)) || wrong "that takes too long even for a busy disk"
    grep -q '/further$' "$work/url" || wrong "no URL of it"
    same "extensions" "age vector" "$(ask -d further -c "select string_agg(extname, ' ' order by extname) from pg_extension
        where extname in ('age', 'vector')")"
    refused server database "$one" further
    refused server database "$one" 'x; drop database hivemem'
    step "eight databases at once, by the application's SQL"
    for i in {1..8}; do
        ask -c "create database own$i template hivemem_template" &
    done
    wait
    same "databases" 8 "$(ask -c "select count(*) from pg_database where datname like 'own_'")"
    graph within -d own1
    ask -d own2 -c 'create table t (v vector(2))'
    for i in {1..8}; do
        ask -c "drop database own$i with (force)"
    done
    step "the application is no superuser"
    refused ask -c 'drop database hivemem_template'
    refused ask -c 'alter database hivemem_template is_template false'
    refused ask -c "copy (select 1) to '/server/x'"
}

try_kill() {
    local was
    was=$(port primary)
    step "what was acknowledged outlives SIGKILL, and a stranger in postmaster.pid does not matter"
    ask -c 'insert into notes (id) values (1001)'
    server kill "$one"
    refused ask -c 'select 1'
    # The bouncer has the uid that the primary had, so PostgreSQL itself would believe it.
    sed -i "1s/.*/$(pgrep -n -x pgbouncer)/" "$one/server/primary/postmaster.pid"
    server start "$one" > /dev/null
    same "the port" "$was" "$(port primary)"
    same "the row" 1001 "$(ask -c 'select max(id) from notes')"
    soon 1001 -p "$(port bouncer)" -c 'select max(id) from notes'
    step "a main process that is killed alone"
    kill -KILL "$(head -n 1 "$one/server/primary/postmaster.pid")"
    server start "$one" > /dev/null
    same "the row" 1001 "$(ask -c 'select max(id) from notes')"
}

try_standby() {
    step "a standby sees what is written"
    server standby "$one" > "$work/env"
    grep -q "^HIVEMEM_TEST_POSTGRES_STANDBY_URL=.*:$(port standby)/hivemem$" "$work/env" || wrong "no URL of it"
    ask -c 'insert into notes (id) values (1002)'
    soon 1002 -p "$(port standby)" -c 'select max(id) from notes'
    refused ask -p "$(port standby)" -c 'insert into notes (id) values (1)'
    step "a standby that was killed follows again"
    server kill "$one" standby
    ask -c 'insert into notes (id) values (1003)'
    server standby "$one" > /dev/null
    soon 1003 -p "$(port standby)" -c 'select max(id) from notes'
    step "what waited for the standby is there after the primary's SIGKILL and a promotion"
    ask -U postgres -c "alter system set synchronous_standby_names = 'standby'" -c 'select pg_reload_conf()' > /dev/null
    soon sync -U postgres -c 'select sync_state from pg_stat_replication'
    ask -c 'insert into notes (id) values (1004)'
    server kill "$one" primary
    server promote "$one"
    same "the row" 1004 "$(ask -p "$(port standby)" -c 'select max(id) from notes')"
    ask -p "$(port standby)" -c 'insert into notes (id) values (1005)'
}

try_stop() {
    step "stop, and start again"
    server stop "$one"
    refused server status "$one"
    refused ask -c 'select 1'
    server start "$one" > /dev/null
    ask -U postgres -c 'alter system reset all' -c 'select pg_reload_conf()' > /dev/null
    same "the row" 1004 "$(ask -c 'select max(id) from notes')"
}

try_beside() {
    step "a second server beside it, with other settings"
    FSYNC=off MAX_CONNECTIONS=50 SHARED_BUFFERS=64MB MAINTENANCE_WORK_MEM=32MB server start "$two" > "$work/env"
    same "settings" "off 50 64MB 32MB" "$(server psql "$two" -X -A -t -F ' ' -c "select current_setting('fsync'),
        current_setting('max_connections'), current_setting('shared_buffers'), current_setting('maintenance_work_mem')")"
    # shellcheck source=/dev/null
    source "$work/env"
    same "env" "$HIVEMEM_TEST_POSTGRES_URL" "$(server env "$two" | sed -n 's/^HIVEMEM_TEST_POSTGRES_URL=//p')"
    server destroy "$two"
    [[ ! -e $two ]] || wrong "the folder is there"
    same "the first" 1 "$(ask -c 'select 1')"
}

try_destroy() {
    step "destroy ends everything and leaves nothing"
    server standby "$one" > "$work/env"
    server bouncer "$one" >> "$work/env"
    server status "$one" > /dev/null
    server destroy "$one"
    [[ ! -e $one ]] || wrong "the folder is there"
    # shellcheck disable=SC2013  # Words.
    for port in $(grep -o ':[0-9]*/' "$work/env" | tr -d ':/' | sort -u); do
        ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || wrong "someone listens on port $port"
    done
}

main() {
    local part
    [[ ${1:-} != install ]] || try_install
    for part in start vectors bouncer databases kill standby stop beside destroy; do
        "try_$part"
    done
    step
}

trap finish EXIT
main "$@"
