# shellcheck shell=bash disable=SC2154  # $folder and $way are server.sh's.
# The ground that server.sh stands on, and sources: how a program gets into the tree, who lives in a folder, locks, ports.
#
# - A program in the tree sees the tree, /server (FOLDER/server, on whatever file system that is), /proc and three devices;
#   nothing else of the host, and keeps none of the host's mounts. It has no rights, and as root's a uid of its own.
# - What it shares between its processes ends with them: the kernel gives it a space of its own (not in a copy, see below).
# - A process belongs to a place when that is its working folder, and its root is not ours. No file with a process id in it
#   is believed, so neither SIGKILL nor a reboot can leave anything behind that stops a start, and no stranger is killed.
#
# Not here: anything that knows what PostgreSQL is.

private=54320 # uid and gid of servers that root starts, and what every server takes itself to be
tree=$(realpath -m "${HIVEMEM_POSTGRES_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/hivemem/postgres}/tree")

die() {
    echo "server.sh: $*" >&2
    exit 1
}

# How this user gets into the tree. Containers often have a root that may not mount; it gets a copy for each FOLDER.
find_way() {
    if ((EUID != 0)); then
        unshare --user --map-root-user --mount --ipc true 2> /dev/null || die "this machine allows no user namespace; use root"
        echo user
    elif unshare --mount --ipc true 2> /dev/null; then
        echo mount
    else
        echo copy
    fi
}

# For sh in a mount namespace of its own: makes TREE its root, with SERVER in it, and becomes the rest of the words.
# shellcheck disable=SC2016  # For sh there.
enter='
set -e
tree=$1
server=$2
shift 2
mount --bind "$tree" "$tree"
mount --rbind "$server" "$tree/server"
mount --rbind /proc "$tree/proc"
for device in null zero urandom; do
    mount --bind "/dev/$device" "$tree/dev/$device"
done
cd "$tree"
pivot_root . old
umount -l /old
exec "$@"'

# Runs a program in the tree, with nothing of the caller's environment. mount(8) wants to be root and PostgreSQL wants not
# to be, therefore two namespaces of users, one in the other.
inside() {
    local clean=(env -i PATH=/pg/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/server LC_ALL=C.UTF-8 TZ=UTC TERM="${TERM:-dumb}")
    local privately=(unshare --mount --ipc --propagation private sh -c "$enter" sh "$tree" "$folder/server")
    case $way in
        mount)
            "${clean[@]}" "${privately[@]}" setpriv --reuid=$private --regid=$private --clear-groups \
                --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
            ;;
        user)
            "${clean[@]}" unshare --user --map-root-user "${privately[@]}" \
                unshare --user --map-user=$private --map-group=$private "$@"
            ;;
        copy) "${clean[@]}" chroot --userspec=$private:$private "$folder/tree" "$@" ;;
    esac
}

# Runs a program that leaves a process behind in PLACE, which must not keep open what the caller has: neither its output
# nor a lock. But the lock is kept until the program ends, even by a caller that is killed: nobody starts a second one.
detached() (
    place=$1
    shift
    (
        for descriptor in /proc/self/fd/*; do
            descriptor=${descriptor##*/}
            # 255 is bash's own, and closes by itself.
            ((descriptor <= 2 || descriptor == 255)) || eval "exec $descriptor>&-"
        done
        # shellcheck disable=SC2016  # For sh there.
        inside sh -c 'cd "/server/$0" && exec "$@"' "$place" "$@" < /dev/null > /dev/null 2>&1
    )
    exit $?
)

# Writes stdin to FILE in /server, whole or not at all, for the server alone.
put() {
    # shellcheck disable=SC2016  # For sh there.
    inside sh -c 'umask 077; cat > "$1.new" && mv "$1.new" "$1"' sh "/server/$1"
}

# Makes FOLDER/server, where the servers may write.
make_ground() {
    [[ -d $tree ]] || die "$tree is not there; install.sh makes it"
    [[ $way != copy ]] || make_copy
    [[ -d $folder/server ]] || mkdir "$folder/server"
    chmod 700 "$folder/server/"
    ((EUID != 0)) || chown "$private:$private" "$folder/server/"
}

# The copy has the server's folder within; FOLDER/server leads there. Files are shared with the tree where they can be.
make_copy() {
    [[ ! -d $folder/tree ]] || return 0
    [[ ! -e $folder/server ]] || die "$folder was made by someone who may mount"
    rm -rf "$folder/tree.new"
    cp -al "$tree" "$folder/tree.new" 2> /dev/null || {
        rm -rf "$folder/tree.new"
        cp -a "$tree" "$folder/tree.new"
    }
    rm "$folder"/tree.new/dev/*
    mknod -m 666 "$folder/tree.new/dev/null" c 1 3
    mknod -m 666 "$folder/tree.new/dev/zero" c 1 5
    mknod -m 666 "$folder/tree.new/dev/urandom" c 1 9
    ln -sfn tree/server "$folder/server"
    mv "$folder/tree.new" "$folder/tree"
}

# Waits until this process is the only one that works on FOLDER. FOLDER may be destroyed meanwhile, and made again.
hold() {
    while exec {lock}> "$folder/lock"; do
        flock "$lock"
        [[ ! /proc/self/fd/$lock -ef $folder/lock ]] || return 0
        exec {lock}>&-
    done
    die "$folder is gone"
}

# Whether process $2 belongs to place $1.
lives_in() {
    [[ /proc/$2/cwd -ef $folder/server/$1 && ! /proc/$2/root -ef / ]]
}

# The processes of a place.
inhabitants() {
    local process
    for process in /proc/[0-9]*; do
        if lives_in "$1" "${process##*/}"; then
            echo "${process##*/}"
        fi
    done
}

# Whether process $1 runs, be it only to its end: it may still have a port while it has no folder any more.
runs() {
    local status=
    read -r -d '' status 2> /dev/null < "/proc/$1/status" || [[ $status == *State:$'\t'[!ZX]* ]]
}

# SIGKILL for all of a place, until there is none: what has begun to fork is met at the next look.
slay() {
    local process found
    local -A left=()
    for _ in {1..1000}; do
        mapfile -t found < <(inhabitants "$1")
        for process in "${found[@]}"; do
            left[$process]=
            kill -KILL "$process" 2> /dev/null || true
        done
        for process in "${!left[@]}"; do
            runs "$process" || unset "left[$process]"
        done
        ((${#left[@]})) || return 0
        sleep 0.01
    done
    die "processes of the $1 do not end: ${!left[*]}"
}

listening() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

# A port nobody listens on, below those that the kernel gives to connections. Another may take it before it is used.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); listening "$port"; do :; done
    echo "$port"
}
