/*
 * What both ends of the load generator agree on.
 *
 * Every connection begins with eight bytes from the client; the server answers one byte as soon as it has
 * them. So a client that has the byte knows that the whole way is open, whoever stands in between. The
 * first byte is zero, which begins neither HTTP nor TLS: a proxy that looks has nothing to wait for.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MESSAGE_BYTES 1024
#define CHUNK_BYTES (128 * 1024)
#define NS 1000000000ull

/* What a connection is for: bits, so that BOTH is UP and DOWN. */
enum purpose { ECHO = 0, UP = 1, DOWN = 2, BOTH = 3 };

struct hello {
	uint8_t zero;
	uint8_t purpose;
	uint16_t unused;
	uint32_t milliseconds; /* DOWN: how long the server sends */
} __attribute__((packed));

/* UP and BOTH end with this: how many bytes reached the server. */
struct farewell {
	uint64_t received;
} __attribute__((packed));

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

/* The measurement is worth nothing after any surprise here, so every surprise ends the program. */
static inline void must(int fine, const char *what)
{
	if (fine)
		return;
	perror(what);
	exit(2);
}

#endif
