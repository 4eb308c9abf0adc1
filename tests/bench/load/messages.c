/* Messages there and back on connections that stay: as fast as they come back, or at fixed times. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "client.h"

struct caller {
	int fd;
	uint64_t due;	   /* messages that should have been sent by now */
	uint64_t sent;	   /* bytes */
	uint64_t received; /* bytes */
	uint64_t sent_at_ns;
};

static int push(struct caller *caller)
{
	while (caller->sent < caller->due * MESSAGE_BYTES) {
		uint64_t left = caller->due * MESSAGE_BYTES - caller->sent;
		ssize_t sent = send(caller->fd, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN;
		caller->sent += sent;
	}
	return 1;
}

/*
 * With a rate, message k is due at start + k / rate on connection k modulo connections, and its time runs
 * from then on, sent or not: a stall is counted for all that should have been sent in it (what is known as
 * coordinated omission otherwise). Without a rate each connection sends when it has its answer.
 */
void run_messages(unsigned connections, uint64_t run_ns, unsigned rate)
{
	struct caller *callers = calloc(connections, sizeof(*callers));
	struct tally trips = new_tally("roundtrip"), late = new_tally("late");
	struct epoll_event events[64];
	int poller = epoll_create1(EPOLL_CLOEXEC);
	uint64_t gap_ns = rate ? NS / rate : 0, scheduled = 0, most = rate ? run_ns / gap_ns : UINT64_MAX;
	uint64_t done = 0, wanted = 0;

	must(callers != NULL, "calloc");
	for (unsigned i = 0; i < connections; i++) {
		callers[i].fd = dial_through(ECHO, 0);
		must(callers[i].fd >= 0, "dial");
		fcntl(callers[i].fd, F_SETFL, O_NONBLOCK);
		/* Edge-triggered: EPOLLOUT speaks only when there is room again. */
		watch(poller, callers[i].fd,
		      (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = i});
	}
	uint64_t start = now_ns() + NS / 1000, stop = start + run_ns, now;
	for (unsigned i = 0; !rate && i < connections; i++) {
		callers[i].due = 1;
		callers[i].sent_at_ns = now_ns();
		wanted++;
		must(push(&callers[i]), "send");
	}
	/* Everything that was due is sent, also when we slept through the end: a stall there counts as well. */
	while ((now = now_ns()) < stop || (rate && scheduled < most) || (done < wanted && now < stop + 2 * NS)) {
		for (; rate && scheduled < most && start + scheduled * gap_ns <= now; scheduled++) {
			struct caller *caller = &callers[scheduled % connections];

			record(&late, now - (start + scheduled * gap_ns));
			caller->due++;
			wanted++;
			must(push(caller), "send");
		}
		uint64_t wake = rate && scheduled < most ? start + scheduled * gap_ns : stop + 2 * NS;
		uint64_t sleep_ns = wake > (now = now_ns()) ? wake - now : 0;
		struct timespec sleep = {.tv_sec = sleep_ns / NS, .tv_nsec = sleep_ns % NS};
		int count = epoll_pwait2(poller, events, 64, &sleep, NULL);
		for (int i = 0; i < count; i++) {
			struct caller *caller = &callers[events[i].data.u32];
			ssize_t got;

			must(push(caller), "send");
			while ((got = recv(caller->fd, chunk, sizeof(chunk), 0)) > 0) {
				uint64_t before = caller->received / MESSAGE_BYTES;

				caller->received += got;
				now = now_ns();
				for (uint64_t k = before; k < caller->received / MESSAGE_BYTES; k++, done++)
					record(&trips, now - (rate ? start + (events[i].data.u32 + k * connections) * gap_ns
								   : caller->sent_at_ns));
				if (!rate && caller->received == caller->due * MESSAGE_BYTES && now < stop) {
					caller->due++;
					caller->sent_at_ns = now;
					wanted++;
					must(push(caller), "send");
				}
			}
			must(got < 0 && errno == EAGAIN, "recv");
		}
	}
	double seconds = (double)((rate ? stop : now_ns()) - start) / NS;
	/* What never came back counts as slow as can be: it must not make the percentiles better. */
	for (uint64_t k = done; k < wanted; k++, errors++)
		record(&trips, UINT32_MAX);
	printf("{\"operations\": %lu, \"seconds\": %.4f, \"errors\": %lu, \"per_second\": %.1f",
	       (unsigned long)done, seconds, errors, done / seconds);
	print_tally(&trips);
	if (rate)
		print_tally(&late);
	printf("}\n");
}
