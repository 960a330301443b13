#!/bin/sh
# Debian's redis-server and nginx, snapshotted while they listen, with several instances of each at once on other ports,
# each with its own memory, as a plain user with no capabilities.
. "$(dirname "$0")/common.sh"

need redis-server redis-tools nginx-light curl
fresh_store
scratch=$SNAPFN_STORE.servers
mkdir -p "$scratch/redis" "$scratch/www"
chmod -R 755 "$scratch"
started=
cleanup() {
    # The process in the background may be the parent of the one that became the program.
    for pid in $started; do
        # shellcheck disable=SC2046
        kill "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) 2>/dev/null || true
    done
    rm -rf "$SNAPFN_STORE" "$scratch"
}
trap cleanup EXIT
base=$((20000 + $$ % 20000))

# start NAME OLD PORT: an instance whose listening socket is moved to PORT.
start() {
    as_plain snaprun --bind "$2=127.0.0.1:$3" "$1" >"$scratch/$1-$3.log" 2>&1 &
    started="$started $!"
}

# until_true COMMAND…: repeats it until it succeeds, for at most ten seconds.
until_true() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        sleep 0.05
    done
}

# --- redis: 100,000 keys in memory ---
redis-server --port "$base" --save '' --dir "$scratch/redis" --daemonize yes --pidfile "$scratch/redis.pid" >/dev/null
until_true redis-cli -p "$base" ping || die "redis-server does not start"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "SET key:%d value-%d\r\n", i, i }' |
    redis-cli -p "$base" --pipe >/dev/null
redis-cli -p "$base" save >/dev/null
redis-cli -p "$base" shutdown nosave || true
step "redis: snapshot while it listens" snapshotter create --tag redis --at syscall:epoll_wait -- \
    /usr/bin/redis-server --port "$base" --save '' --appendonly no --dir "$scratch/redis"
for i in 1 2 3; do
    start redis "$base" $((base + i))
done
for i in 1 2 3; do
    until_true redis-cli -p $((base + i)) ping || die "redis $i does not answer: $(cat "$scratch/redis-$((base + i)).log")"
    same "redis $i: keys" 100000 "$(redis-cli -p $((base + i)) dbsize)"
    same "redis $i: a value" value-77777 "$(redis-cli -p $((base + i)) get key:77777)"
    redis-cli -p $((base + i)) set key:1 "of instance $i" >/dev/null
done
for i in 1 2 3; do
    same "redis $i: memory of its own" "of instance $i" "$(redis-cli -p $((base + i)) get key:1)"
    redis-cli -p $((base + i)) shutdown nosave || true
done

# --- nginx, a single process ---
head -c 300000 /dev/urandom >"$scratch/www/file"
cat >"$scratch/nginx.conf" <<CONF
daemon off; master_process off; error_log stderr; pid $scratch/nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path $scratch/b; proxy_temp_path $scratch/p; fastcgi_temp_path $scratch/f;
    uwsgi_temp_path $scratch/u; scgi_temp_path $scratch/s;
    server { listen 127.0.0.1:$base; root $scratch/www; }
}
CONF
step "nginx: snapshot while it listens" snapshotter create --tag nginx --at syscall:epoll_wait -- \
    /usr/sbin/nginx -p "$scratch" -c "$scratch/nginx.conf"
for i in 11 12; do
    start nginx "127.0.0.1:$base" $((base + i))
done
for i in 11 12; do
    until_true curl -sf "http://127.0.0.1:$((base + i))/file" || die "nginx does not answer: $(cat "$scratch/nginx-$((base + i)).log")"
    sum=$(curl -s "http://127.0.0.1:$((base + i))/file" | sha256sum)
    same "nginx $i: serves a file" "$(sha256sum <"$scratch/www/file")" "$sum"
done

# --- a multi-threaded server in C ---
cat >"$scratch/server.c" <<'C'
#include <arpa/inet.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int listener, served;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *worker(void *id) {
    for (;;) {
        int c = accept(listener, NULL, NULL);
        if (c < 0) return NULL;
        pthread_mutex_lock(&lock);
        dprintf(c, "%d\n", ++served);
        pthread_mutex_unlock(&lock);
        close(c);
    }
}
int main(int argc, char **argv) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 16)) return 1;
    pthread_t t[8];
    for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, worker, NULL);
    usleep(100000);
    snap_ready();
    pause();
}
C
step "threaded server: build" snapcc -O2 -pthread "$scratch/server.c" -o "$scratch/server"
step "threaded server: snapshot with 8 threads in accept" snapshotter create --tag server -- "$scratch/server" "$base"
start server "$base" $((base + 21))
start server "$base" $((base + 22))
ask() {
    python3 -c 'import socket, sys; print(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).recv(9).decode().strip())' "$1"
}
for i in 21 22; do
    tries=0
    until answer=$(ask $((base + i)) 2>/dev/null); do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die "the threaded server does not answer"
        sleep 0.05
    done
    for turn in 2 3 4 5; do
        answer=$(ask $((base + i)))
    done
    same "threaded server $i: counts for itself" 5 "$answer"
done

finish
