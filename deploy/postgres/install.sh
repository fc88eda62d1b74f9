#!/usr/bin/env bash
# Unpacks PostgreSQL, pgvector, Apache AGE and PgBouncer from Debian packages into a folder of their own, for server.sh.
#   deploy/postgres/install.sh          prints where the tree is; at once, when it is there already
#
# HIVEMEM_POSTGRES_HOME     the folder; ~/.cache/hivemem/postgres if not set
# HIVEMEM_POSTGRES_SUITE    a Debian suite: forky or sid (PostgreSQL 18), trixie (17); forky, else trixie, if not set
# HIVEMEM_POSTGRES_MIRROR   a Debian mirror; the one this machine's apt uses, if not set
# HIVEMEM_POSTGRES_KEYRING  the archive's public keys; those of debian-archive-keyring if not set
#
# - The host's packages stay as they are: apt works on lists, status and cache of its own, and nothing is configured.
# - What is unpacked bears the signature of the Debian archive.
# - The tree appears by one rename, whole, after its programs have run. What is interrupted before counts for nothing.
# - Any number of these may run at once: one works, the others wait for it.
#
# Not here: servers (server.sh), maintainer scripts (none is run), updates (remove the folder, install again).
set -euo pipefail
umask 022

home=$(realpath -m "${HIVEMEM_POSTGRES_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/hivemem/postgres}")
keyring=${HIVEMEM_POSTGRES_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
mirror=${HIVEMEM_POSTGRES_MIRROR:-}
tree=$home/tree

die() {
    echo "install.sh: $*" >&2
    exit 1
}

# What a server needs of SUITE; apt adds what these need.
packages() {
    local version
    case $1 in
        forky | sid) version=18 ;;
        trixie) version=17 ;;
        *) die "suite $1 is unknown; forky, sid and trixie are known" ;;
    esac
    echo "postgresql-$version postgresql-$version-pgvector postgresql-$version-age pgbouncer dash coreutils util-linux mount"
}

# Takes from names on stdin those of packages that only maintainer scripts, the system's start and translations use.
without_ballast() {
    local names='(lib)?perl.*|lib.*-perl|debconf|libdebconf.*|ucf|sensible-utils|postgresql-(client-)?common(-dev)?'
    names+='|openssl|openssl-provider-legacy|ssl-cert|netbase|adduser|passwd|login.*|base-passwd|readline-common'
    names+='|systemd|libsystemd-shared|procps|sysvinit-utils|libpam-(modules|runtime).*'
    names+='|locales|libc-l10n|libc-gconv-.*'
    grep -vxE "$names"
}

# The mirror that apt itself names, so that whatever form its sources have, this finds it.
host_mirror() {
    # shellcheck disable=SC2016  # The variable is apt's.
    apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/$' || true
}

# Writes to FOLDER what makes apt forget this machine, but for its proxies.
private_apt() {
    local folder=$1 suite=$2 none=$1/none proxies
    mkdir -p "$none" "$folder/lists/partial" "$folder/archives/partial"
    : > "$folder/status"
    # Lists that are past their date are taken: mirrors lag and snapshots are old. Signatures are checked all the same.
    echo "deb [arch=$(dpkg --print-architecture) signed-by=$keyring check-valid-until=no] $mirror $suite main" \
        > "$folder/sources.list"
    proxies=$(apt-config dump | grep -i '^Acquire::.*proxy' || true)
    cat > "$folder/apt.conf" <<CONF
$proxies
Dir::State::lists "$folder/lists"; Dir::State::status "$folder/status";
Dir::Cache "$folder"; Dir::Cache::archives "$folder/archives";
Dir::Etc::sourcelist "$folder/sources.list"; Dir::Etc::sourceparts "$none";
Dir::Etc::main "/dev/null"; Dir::Etc::parts "$none"; Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "$none";
Dir::Etc::trusted "/dev/null"; Dir::Etc::trustedparts "$none"; Dir::Etc::netrc "/dev/null"; Dir::Etc::netrcparts "$none";
APT::Install-Recommends "false"; APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Retries "3";
CONF
}

# Downloads to FOLDER/debs what SUITE has.
download() (
    folder=$1
    suite=$2
    rm -rf "$folder"
    mkdir -p "$folder/debs"
    wanted=$(packages "$suite") || exit 1
    private_apt "$folder" "$suite"
    export APT_CONFIG=$folder/apt.conf
    apt-get -qq update >&2 || exit 1
    # shellcheck disable=SC2086  # Words.
    apt-get -qq --simulate install $wanted | awk '/^Inst/ { print $2 }' | without_ballast > "$folder/names" || exit 1
    cd "$folder/debs" && xargs apt-get -qq download < "$folder/names" >&2
)

# Unpacks FOLDER/debs to a tree, without documents, translations, code for a compiler that is not there, and setuid bits.
unpack() {
    local debs=$1/debs tree=$2 name
    mkdir -p "$tree"/usr/{bin,sbin,lib,lib64} "$tree"/{dev,etc,old,proc,server,tmp}
    for name in bin sbin lib lib64; do
        ln -s "usr/$name" "$tree/$name"
    done
    for name in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$name" | tar -x -C "$tree" --keep-directory-symlink --no-same-owner --no-same-permissions \
            --exclude './usr/share/doc' --exclude './usr/share/man' --exclude './usr/share/locale' --exclude '*/bitcode'
        basename "$name" .deb
    done > "$tree/packages"
    # Places for server.sh to mount the host's devices on.
    touch "$tree"/dev/{null,zero,urandom}
}

# What maintainer scripts would have made, as far as a server needs it. Its user is the one that server.sh gives it.
complete() {
    local tree=$1
    printf 'root:x:0:0::/:/bin/sh\npostgres:x:54320:54320::/server:/bin/sh\n' > "$tree/etc/passwd"
    printf 'root:x:0:\npostgres:x:54320:\n' > "$tree/etc/group"
    echo 'passwd: files' > "$tree/etc/nsswitch.conf"
    echo '127.0.0.1 localhost' > "$tree/etc/hosts"
    ln -sf dash "$tree/usr/bin/sh"
    ln -s lib/postgresql/"$(ls "$tree/usr/lib/postgresql")" "$tree/usr/pg"
    ln -s usr/pg "$tree/pg"
}

# A library that is missing shows here, not at the first start.
try_programs() {
    local tree=$1 program
    local into=(chroot "$tree")
    ((EUID == 0)) || into=(unshare --user --map-root-user --root="$tree")
    for program in /pg/bin/{postgres,initdb,pg_ctl,pg_basebackup,psql} /usr/sbin/pgbouncer /usr/bin/{setpriv,unshare,umount}; do
        "${into[@]}" "$program" --version > /dev/null || die "$program does not run"
    done
    "${into[@]}" /bin/sh -c true || die "/bin/sh does not run"
}

build() {
    local new=$1 suite done=
    : "${mirror:=$(host_mirror)}"
    [[ -n $mirror ]] || die "apt names no mirror of Debian: set HIVEMEM_POSTGRES_MIRROR"
    for suite in ${HIVEMEM_POSTGRES_SUITE:-forky trixie}; do
        if download "$new/apt" "$suite"; then
            done=$suite
            break
        fi
        echo "install.sh: $mirror does not give what is needed of $suite" >&2
    done
    [[ -n $done ]] || die "nothing was installed"
    unpack "$new/apt" "$new/tree"
    complete "$new/tree"
    try_programs "$new/tree"
    sync -f "$new/tree"
    mv "$new/tree" "$tree"
}

main() {
    local program new
    if [[ ! -d $tree ]]; then
        for program in apt-get dpkg dpkg-deb flock unshare; do
            command -v "$program" > /dev/null || die "$program is needed"
        done
        [[ -r $keyring ]] || die "$keyring is needed; the package debian-archive-keyring has it"
        mkdir -p "$home"
        exec 9> "$home/lock"
        flock 9
    fi
    if [[ ! -d $tree ]]; then
        # Who holds the lock may remove what others have left.
        rm -rf "$home"/new.*
        new=$(mktemp -d "$home/new.XXXXXX")
        # shellcheck disable=SC2064  # This one, now.
        trap "rm -rf '$new'" EXIT
        build "$new" 9>&-
    fi
    echo "$tree"
}

main
