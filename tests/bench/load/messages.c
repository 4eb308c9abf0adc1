/* Messages there and back on connections that stay, as fast as they come back. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

#include "client.h"

/* Each connection sends when it has its answer. */
void run_messages(unsigned connections, uint64_t run_ns)
{
	int poller;
	struct caller *callers = open_callers(connections, &poller);
	struct tally trips = new_tally("roundtrip");
	struct epoll_event events[64];
	uint64_t done = 0, wanted = 0;

	uint64_t start = now_ns(), stop = start + run_ns, now;
	for (unsigned i = 0; i < connections; i++) {
		callers[i].due = 1;
		callers[i].sent_at_ns = now_ns();
		wanted++;
		push(&callers[i]);
	}
	while ((now = now_ns()) < stop || (done < wanted && now < stop + 2 * NS)) {
		int count = epoll_wait(poller, events, 64, 2000);

		for (int i = 0; i < count; i++) {
			struct caller *caller = &callers[events[i].data.u32];
			ssize_t got;

			push(caller);
			while ((got = recv(caller->fd, chunk, sizeof(chunk), 0)) > 0) {
				uint64_t before = caller->received / message_bytes;

				caller->received += got;
				now = now_ns();
				for (uint64_t k = before; k < caller->received / message_bytes; k++, done++)
					record(&trips, now - caller->sent_at_ns);
				if (caller->received == caller->due * message_bytes && now < stop) {
					caller->due++;
					caller->sent_at_ns = now;
					wanted++;
					push(caller);
				}
			}
			must(got < 0 && errno == EAGAIN, "recv");
		}
	}
	double seconds = (double)(now_ns() - start) / NS;
	/* What never came back counts as slow as can be: it must not make the percentiles better. */
	for (uint64_t k = done; k < wanted; k++, errors++)
		record(&trips, UINT32_MAX);
	printf("{\"operations\": %lu, \"seconds\": %.4f, \"errors\": %lu, \"per_second\": %.1f",
	       (unsigned long)done, seconds, errors, done / seconds);
	print_tally(&trips);
	printf("}\n");
}
