//! at: ready
//! variants: O2,musl-static
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATES = 4 };

static int state(int kind, int how, int pair[2]) {
    if (socketpair(AF_UNIX, kind, 0, pair)) return 1;
    send(pair[1], "hello", 5, 0);
    if (kind != SOCK_STREAM) send(pair[1], "", 0, 0);
    send(pair[1], "x", 1, 0);
    if (how < 3) shutdown(pair[0], how);
    else shutdown(pair[1], SHUT_WR);
    return 0;
}

/* At the end of its queue, a socket whose peer has shut down reads as empty for ever. A message without bytes reads as
 * empty once. */
int main(void) {
    static const int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    int pairs[3 * STATES][2];
    for (int i = 0; i < 3 * STATES; i++)
        if (state(kinds[i / STATES], i % STATES, pairs[i])) return 1;
    snap_ready();
    for (int i = 0; i < 3 * STATES; i++)
        for (int end = 0; end < 2; end++) {
            char text[64];
            printf("kind %d, state %d, end %d:", i / STATES, i % STATES, end);
            for (int turn = 0; turn < 5; turn++) printf(" %zd", recv(pairs[i][end], text, sizeof text, MSG_DONTWAIT));
            puts("");
        }
    return 0;
}
