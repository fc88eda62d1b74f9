# shellcheck shell=bash disable=SC2154  # $folder is server.sh's.
# The places of a FOLDER, for server.sh, which sources it: how a primary, a standby and a bouncer are made and started.
#
# - What is made appears by one rename, whole: an initdb or a base backup that was interrupted is begun anew.
# - A place is made ready by statements that may run twice, so that it does not matter after which of them it was stopped.
# - Settings are written at each start. Those of the environment hold until the next.
#
# Not here: when any of it is done (server.sh), and where (ground.sh).

# For tools that write much before the first start.
no_sync() {
    [[ ${FSYNC:-on} == on ]] || echo --no-sync
}

secret() {
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

# An empty cluster of databases, with passwords that nobody has set yet.
initialise() {
    put passwords <<PASSWORDS
127.0.0.1:*:*:postgres:$(secret)
127.0.0.1:*:*:hivemem:$(secret)
PASSWORDS
    inside rm -rf /server/primary.new
    # shellcheck disable=SC2046  # One word or none.
    inside initdb -D /server/primary.new -U postgres --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8 --data-checksums $(no_sync) > /dev/null
    inside sh -c "echo \"include 'hivemem.conf'\" >> /server/primary.new/postgresql.conf"
    inside mv -T /server/primary.new /server/primary
}

# Takes the standby's data from the primary, and has the primary keep from now on what the standby has not seen.
copy_primary() {
    alive primary || die "a standby is made from a primary that runs; start it"
    superuser primary -d postgres > /dev/null <<'SQL'
select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'standby';
SQL
    inside rm -rf /server/standby.new
    # shellcheck disable=SC2046  # One word or none.
    inside pg_basebackup -D /server/standby.new -h /server/sockets/primary -p "$(port_of primary)" -U postgres \
        --wal-method=stream --create-slot --slot=standby --checkpoint=fast $(no_sync)
    inside touch /server/standby.new/standby.signal
    inside mv -T /server/standby.new /server/standby
}

# The tree has no /dev/shm, therefore mmap. What processes share is then in files: sysv is not, and is left behind by a
# server that is killed and never started again.
configure_server() {
    put "$1/hivemem.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = '/server/sockets/$1'
shared_preload_libraries = 'age'
dynamic_shared_memory_type = ${DYNAMIC_SHARED_MEMORY:-mmap}
fsync = ${FSYNC:-on}
shared_buffers = '${SHARED_BUFFERS:-128MB}'
maintenance_work_mem = '${MAINTENANCE_WORK_MEM:-64MB}'
max_connections = ${MAX_CONNECTIONS:-200}
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_line_prefix = '%m [%p] %q%u@%d '
hot_standby_feedback = on
$([[ $1 != standby ]] || echo "primary_slot_name = 'standby'
primary_conninfo = 'host=/server/sockets/primary port=$(port_of primary) user=postgres application_name=standby'")
CONF
}

# Starts PLACE on a port, and waits until it answers.
open_server() {
    configure_server "$1" "$2"
    # Nobody lives there, so what says that someone does is stale.
    # shellcheck disable=SC2016  # For sh there.
    inside sh -c 'rm -rf "/server/$1/postmaster.pid" "/server/sockets/$1" && mkdir -p "/server/sockets/$1"' sh "$1"
    detached "$1" pg_ctl -D "/server/$1" -l "/server/$1.log" -w -t 120 start
}

configure_bouncer() {
    inside mkdir -p /server/bouncer
    put bouncer/users <<USERS
"postgres" "$(password postgres)"
"hivemem" "$(password hivemem)"
USERS
    put bouncer/pgbouncer.ini <<INI
[databases]
* = host=127.0.0.1 port=$(port_of primary)
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
logfile = /server/bouncer.log
auth_type = scram-sha-256
auth_file = /server/bouncer/users
admin_users = postgres
pool_mode = transaction
max_prepared_statements = 200
default_pool_size = 10
server_idle_timeout = 60
max_client_conn = 1000
# A primary that comes back is found within a second, not fifteen.
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
INI
}

# The same for the bouncer, which answers when its console knows our password: so it is ours, not a stranger's.
open_bouncer() {
    local turn
    configure_bouncer "$2"
    detached bouncer sh -c 'setsid pgbouncer -q pgbouncer.ini &'
    for turn in {1..200}; do
        sleep 0.05
        if inside env PGPASSFILE=/server/passwords psql -X -h 127.0.0.1 -p "$2" -U postgres -w -c 'show version' pgbouncer \
            > /dev/null 2>&1; then return 0; fi
        ((turn < 20)) || alive bouncer || return 1
    done
    return 1
}

# Has PLACE run, by OPEN, on PORT, or the port it had, or a free one. A free one may be lost to another, so three times.
run() {
    local place=$1 open=$2 known port
    known=${PORT:-$(port_of "$place")}
    for _ in 1 2 3; do
        slay "$place"
        port=${known:-$(free_port)}
        if "$open" "$place" "$port"; then
            echo "$port" > "$folder/$place.port"
            return 0
        fi
        if [[ -n $known ]] || ! listening "$port"; then break; fi
    done
    tail -n 20 "$folder/server/$place.log" >&2 || true
    die "the $place did not start on port $port"
}

# A server that an interrupted command left starting is waited for.
run_server() {
    if alive "$1" && [[ -n $(port_of "$1") ]]; then
        # shellcheck disable=SC2016  # For sh there.
        inside sh -c 'for i in $(seq 1200); do pg_isready -q -h "$1" -p "$2" && exit; sleep 0.1; done; exit 1' sh \
            "/server/sockets/$1" "$(port_of "$1")" || die "the $1 runs but does not answer"
    else
        run "$1" open_server
    fi
}

# Passwords, the role, and the template that databases are made of: an owner that is no superuser cannot create the
# extensions. Nobody may connect to the template, which would keep others from copying it.
prepare() {
    superuser primary -d postgres > /dev/null <<SQL
set client_min_messages = warning;
alter role postgres password '$(password postgres)';
select 'create role hivemem' where not exists (select from pg_roles where rolname = 'hivemem') \gexec
alter role hivemem login createdb password '$(password hivemem)';
select 'create database hivemem_template'
    where not exists (select from pg_database where datname = 'hivemem_template') \gexec
alter database hivemem_template allow_connections true;
\connect hivemem_template
set client_min_messages = warning;
create extension if not exists vector;
create extension if not exists age;
grant usage on schema ag_catalog to hivemem;
grant select on all tables in schema ag_catalog to hivemem;
vacuum (freeze, analyze);
\connect postgres
alter database hivemem_template is_template true allow_connections false;
select 'create database hivemem owner hivemem template hivemem_template'
    where not exists (select from pg_database where datname = 'hivemem') \gexec
SQL
    touch "$folder/prepared"
}
