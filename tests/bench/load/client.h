/* What the parts of the client share. It has one target and one thread, so these are plain globals. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <sys/epoll.h>

#include "tally.h"

extern unsigned long errors;
extern char chunk[CHUNK_BYTES];

/* A descriptor, or -1. Blocks in connect() as a plain program does, which is what connect_ns measures. */
int dial(enum purpose purpose, unsigned milliseconds, uint64_t *connect_ns);

/* As dial, and waits until the server has answered, so that the way is open to its end. */
int dial_through(enum purpose purpose, unsigned milliseconds);

void watch(int poller, int fd, struct epoll_event event);

void run_connect(unsigned connections, uint64_t run_ns, unsigned long most);
void run_messages(unsigned connections, uint64_t run_ns, unsigned rate);
void run_bulk(enum purpose purpose, uint64_t run_ns);

#endif
