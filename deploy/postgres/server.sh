#!/usr/bin/env bash
# PostgreSQL servers for trying and testing, as many side by side as one likes, each wholly described by one FOLDER: data,
# logs, ports, sockets, passwords. Needs what install.sh makes.
#   deploy/postgres/server.sh COMMAND FOLDER [ARGUMENTS]; without words it prints the commands
#
# - They listen on 127.0.0.1 only. Passwords are random, and only the owner of FOLDER can read them.
# - Of two commands on one FOLDER one waits. What was interrupted is taken up or begun anew by the next.
# - What is left running holds nothing of the caller's open.
# - After SIGKILL or a reboot `start` brings back what was acknowledged, on the same port. FSYNC=off gives up the reboot.
#
# Not here: how a program gets into the tree and who lives where (ground.sh); how a primary, a standby and a bouncer are
# made (places.sh); backups, upgrades, TLS, and going back from a promoted standby to its former primary: these servers
# are made to be thrown away.
set -euo pipefail
umask 077
# shellcheck source=ground.sh
source "$(dirname "${BASH_SOURCE[0]}")/ground.sh"
# shellcheck source=places.sh
source "$(dirname "${BASH_SOURCE[0]}")/places.sh"

usage() {
    cat >&2 <<'TEXT'
server.sh COMMAND FOLDER [ARGUMENTS]
  start FOLDER            a primary, made if need be; prints what `env` prints
  standby FOLDER          a hot standby of it; the same
  bouncer FOLDER          PgBouncer before the primary, one connection of its for each transaction; the same
  promote FOLDER          makes the standby a primary
  kill FOLDER [PLACE]     SIGKILL to all of primary, standby or bouncer; primary if not said
  stop FOLDER             stops all in good order; `start`, `standby` and `bouncer` go on with what is there
  destroy FOLDER          kills all, and removes FOLDER
  status FOLDER           what runs; fails unless all that was made does
  env FOLDER              HIVEMEM_TEST_POSTGRES_URL=…, and _ADMIN_URL, _STANDBY_URL, _BOUNCER_URL
  database FOLDER NAME    a further database like `hivemem`, empty; prints its URL
  psql FOLDER [WORDS]     psql as hivemem in hivemem on the primary; -U postgres, -d, -p lead elsewhere
TEXT
    exit 2
}

password() {
    sed -n "s/^127\.0\.0\.1:\*:\*:$1://p" "$folder/server/passwords"
}

# Of a place that was never started: nothing.
port_of() {
    cat "$folder/$1.port" 2> /dev/null || true
}

url() {
    local role=$1 place=$2 database=${3:-hivemem}
    echo "postgres://$role:$(password "$role")@127.0.0.1:$(port_of "$place")/$database"
}

# psql as the superuser, by the socket, where the system vouches for the name.
superuser() {
    inside psql -X -q -A -t -v ON_ERROR_STOP=1 -h "/server/sockets/$1" -p "$(port_of "$1")" -U postgres "${@:2}"
}

# The main process, if it lives. Others may outlive it for a moment.
main_process() {
    local pid
    if [[ $1 == bouncer ]]; then
        inhabitants bouncer
    elif read -r pid 2> /dev/null < "$folder/server/$1/postmaster.pid" && lives_in "$1" "$pid"; then
        echo "$pid"
    fi
}

alive() {
    [[ -n $(main_process "$1") ]]
}

on_start() {
    hold
    make_ground
    [[ -e $folder/server/primary/PG_VERSION ]] || initialise
    run_server primary
    [[ -e $folder/prepared ]] || prepare
    on_env
}

on_standby() {
    hold
    [[ -e $folder/server/standby/PG_VERSION ]] || copy_primary
    run_server standby
    on_env
}

on_bouncer() {
    hold
    if ! alive bouncer || [[ -z $(port_of bouncer) ]]; then
        run bouncer open_bouncer
    fi
    on_env
}

on_promote() {
    hold
    inside pg_ctl -D /server/standby -w promote > /dev/null
}

on_kill() {
    hold
    local place=${1:-primary}
    case $place in
        primary | standby | bouncer) slay "$place" ;;
        *) die "there is no place $place" ;;
    esac
}

# The primary before the standby: a standby that lives then has all of it.
on_stop() {
    local place
    hold
    slay bouncer
    for place in primary standby; do
        ! alive "$place" || inside pg_ctl -D "/server/$place" -m fast -w stop > /dev/null || slay "$place"
    done
}

on_destroy() {
    local place
    hold
    for place in bouncer standby primary; do
        slay "$place"
    done
    rm -rf "$folder"/{server,tree,tree.new,prepared,primary.port,standby.port,bouncer.port}
    rm "$folder/lock"
    rmdir "$folder" || true
}

on_status() {
    local place all=0
    for place in primary standby bouncer; do
        if [[ ! -d $folder/server/$place ]]; then
            echo "$place: not made"
        elif alive "$place"; then
            echo "$place: runs on port $(port_of "$place")"
        else
            echo "$place: stopped"
            all=1
        fi
    done
    return "$all"
}

on_env() {
    echo "HIVEMEM_TEST_POSTGRES_URL=$(url hivemem primary)"
    echo "HIVEMEM_TEST_POSTGRES_ADMIN_URL=$(url postgres primary)"
    [[ -z $(port_of standby) ]] || echo "HIVEMEM_TEST_POSTGRES_STANDBY_URL=$(url hivemem standby)"
    [[ -z $(port_of bouncer) ]] || echo "HIVEMEM_TEST_POSTGRES_BOUNCER_URL=$(url hivemem bouncer)"
}

on_database() {
    [[ ${1:-} =~ ^[a-z_][a-z0-9_]{0,62}$ ]] || die "a name of a database has a-z, 0-9 and _"
    superuser primary -d postgres -c "create database $1 owner hivemem template hivemem_template"
    url hivemem primary "$1"
}

on_psql() {
    inside env PGPASSFILE=/server/passwords PGHOST=127.0.0.1 PGPORT="$(port_of primary)" PGUSER=hivemem PGDATABASE=hivemem \
        psql "$@"
}

main() {
    (($# >= 2)) || usage
    local command=$1
    case $command in
        start) mkdir -p "$2" ;;
        standby | bouncer | promote | kill | stop | destroy | status | env | database | psql)
            [[ -e $2/lock ]] || die "there is no server in $2; start makes one"
            ;;
        *) usage ;;
    esac
    folder=$(realpath "$2")
    way=$(find_way)
    shift 2
    "on_$command" "$@"
}

main "$@"
