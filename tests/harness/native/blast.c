// SPDX-License-Identifier: Apache-2.0
/*
 * blast TAP PROGRESS COUNT: writes the frames read from stdin to a tap, in turn,
 * as fast as it takes them, until COUNT were accepted (0: until SIGTERM or until
 * the parent's end of the lifeline, which is stdin, closes).
 *
 * stdin: a u32 number of frames, then each as a u32 length and its bytes, in
 * host byte order. A frame counts when write() accepted all of it; EAGAIN,
 * ENOBUFS, ENOMEM and EINTR are tried again. PROGRESS is a memfd that holds a
 * struct progress, current after every frame.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct progress {
	uint64_t accepted;
	uint64_t bytes;
	uint64_t retries;
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	uint64_t ended_ns;   /* 0 while it writes */
	uint64_t error;	     /* errno that ended it, 0 when COUNT was reached */
};

struct frame {
	uint32_t length;
	unsigned char *bytes;
};

static volatile sig_atomic_t told_to_stop;

static void on_term(int signal)
{
	(void)signal;
	told_to_stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void read_all(void *into, size_t wanted)
{
	for (char *at = into; wanted;) {
		ssize_t got = read(STDIN_FILENO, at, wanted);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			_exit(2);
		at += got;
		wanted -= got;
	}
}

static int parent_gone(void)
{
	struct pollfd lifeline = { .fd = STDIN_FILENO };

	return poll(&lifeline, 1, 0) > 0;
}

static int worth_retrying(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EINTR;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;

	int tap = atoi(argv[1]);
	uint64_t wanted = strtoull(argv[3], NULL, 10);
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED, atoi(argv[2]), 0);
	struct sigaction stop = { .sa_handler = on_term };
	struct pollfd writable = { .fd = tap, .events = POLLOUT };
	uint32_t count;

	if (progress == MAP_FAILED)
		return 2;
	sigaction(SIGTERM, &stop, NULL);
	read_all(&count, sizeof(count));
	if (count == 0)
		return 2;
	struct frame *frames = calloc(count, sizeof(*frames));

	for (uint32_t i = 0; i < count; i++) {
		read_all(&frames[i].length, sizeof(frames[i].length));
		frames[i].bytes = malloc(frames[i].length);
		read_all(frames[i].bytes, frames[i].length);
	}

	progress->started_ns = now_ns();
	for (uint64_t i = 0; !told_to_stop && (wanted == 0 || i < wanted);) {
		struct frame *frame = &frames[i % count];
		ssize_t written = write(tap, frame->bytes, frame->length);

		if (written == (ssize_t)frame->length) {
			progress->accepted = ++i;
			progress->bytes += written;
			if (i % 4096 == 0 && parent_gone())
				break;
		} else if (written < 0 && worth_retrying(errno)) {
			progress->retries++;
			poll(&writable, 1, 1);
			if (parent_gone())
				break;
		} else {
			progress->error = written < 0 ? errno : EMSGSIZE;
			break;
		}
	}
	progress->ended_ns = now_ns();
	return 0;
}
