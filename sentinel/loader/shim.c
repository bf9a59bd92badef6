/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Python needs from libbpf and can't have cheaply or at all from it:
 * unions of bpf_attr, per-CPU sums, a ring drained in one call, single stores
 * into mapped memory. Decides nothing. Every function returns 0 or a count, or
 * a negative errno.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Newer than the headers of Debian 12: linux/bpf.h of 6.6. */
#define TS_TCX_INGRESS 46
#define TS_TCX_EGRESS 47
#define TS_F_BEFORE (1U << 3)

#define TS_LOG_BYTES 32768
#define TS_VERIFIER_LOG_BYTES (16U << 20)

static __thread char ts_log_text[TS_LOG_BYTES];
static __thread size_t ts_log_used;

/* Keeps the newest text: a verifier says at its end what it disliked. */
static void ts_log_append(const char *text, size_t bytes)
{
	const size_t room = TS_LOG_BYTES - 1;
	size_t kept;

	if (bytes > room) {
		text += bytes - room;
		bytes = room;
	}
	kept = ts_log_used < room - bytes ? ts_log_used : room - bytes;
	memmove(ts_log_text, ts_log_text + ts_log_used - kept, kept);
	memcpy(ts_log_text + kept, text, bytes);
	ts_log_used = kept + bytes;
	ts_log_text[ts_log_used] = '\0';
}

static int ts_print(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text = NULL;
	int bytes;

	if (level == LIBBPF_DEBUG)
		return 0;
	bytes = vasprintf(&text, format, args);
	if (bytes <= 0)
		return 0;
	ts_log_append(text, bytes);
	free(text);
	return bytes;
}

static const char *ts_log(void)
{
	return ts_log_text;
}

static void ts_log_start(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	ts_log_used = 0;
	ts_log_text[0] = '\0';
	libbpf_set_print(ts_print);
	/* Kernels before 5.11 account maps to RLIMIT_MEMLOCK. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

/* The value of an enumerator that the object's BTF knows, or -ENOENT. */
static int ts_object_enum(struct bpf_object *object, const char *type, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	const struct btf_type *found;
	const struct btf_enum *values;
	int id;

	if (!btf)
		return -ENOENT;
	id = btf__find_by_name_kind(btf, type, BTF_KIND_ENUM);
	if (id < 0)
		return -ENOENT;
	found = btf__type_by_id(btf, id);
	values = btf_enum(found);
	for (int i = 0; i < btf_vlen(found); i++) {
		if (!strcmp(btf__name_by_offset(btf, values[i].name_off), name))
			return values[i].val;
	}
	return -ENOENT;
}

/* tcx, in front of what is there already. Returns the link's descriptor. */
static int ts_tcx_link(int prog_fd, int ifindex, int egress)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = TS_F_BEFORE);
	int fd = bpf_link_create(prog_fd, ifindex, egress ? TS_TCX_EGRESS : TS_TCX_INGRESS, &opts);

	return fd < 0 ? -errno : fd;
}

static int ts_link_update(int link_fd, int prog_fd)
{
	return bpf_link_update(link_fd, prog_fd, NULL) ? -errno : 0;
}

static int ts_link_detach(int link_fd)
{
	return bpf_link_detach(link_fd) ? -errno : 0;
}

/* Of a tcx link: its device, 0 once that is gone; and the program it runs. */
static int ts_link_info(int link_fd, uint32_t *ifindex, uint32_t *prog_id)
{
	struct bpf_link_info info;
	uint32_t bytes = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (bpf_obj_get_info_by_fd(link_fd, &info, &bytes))
		return -errno;
	*prog_id = info.prog_id;
	/* struct bpf_link_info.tcx begins, as .xdp does, with the ifindex. */
	*ifindex = info.xdp.ifindex;
	return 0;
}

static int program_info(int prog_fd, struct bpf_prog_info *info)
{
	uint32_t bytes = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(prog_fd, info, &bytes) ? -errno : 0;
}

static int ts_prog_id(int prog_fd, uint32_t *id)
{
	struct bpf_prog_info info;
	int failed = program_info(prog_fd, &info);

	*id = info.id;
	return failed;
}

/* The name of a program by id, NUL-terminated in 16 bytes; needs CAP_SYS_ADMIN. */
static int ts_prog_name(uint32_t id, char *name)
{
	struct bpf_prog_info info;
	int fd = bpf_prog_get_fd_by_id(id);
	int failed;

	if (fd < 0)
		return -errno;
	failed = program_info(fd, &info);
	close(fd);
	memcpy(name, info.name, 16);
	name[15] = '\0';
	return failed;
}

/* How often a program was not run because it was running on that CPU already. */
static int ts_prog_misses(int prog_fd, uint64_t *misses)
{
	struct bpf_prog_info info;
	int failed = program_info(prog_fd, &info);

	*misses = info.recursion_misses;
	return failed;
}

/* Runs a tp_btf program at its tracepoint as long as the returned descriptor is open. */
static int ts_tracepoint_open(int prog_fd)
{
	int fd = bpf_raw_tracepoint_open(NULL, prog_fd);

	return fd < 0 ? -errno : fd;
}

/* How many arguments a program at a kernel tracepoint is given, or -ENOENT. */
static int ts_tracepoint_arguments(const struct btf *btf, const char *tracepoint)
{
	char name[128];
	const struct btf_type *type;
	int id;

	snprintf(name, sizeof(name), "btf_trace_%s", tracepoint);
	id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -ENOENT;
	type = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (!type || !btf_is_ptr(type))
		return -ENOENT;
	type = btf__type_by_id(btf, type->type);
	/* The first is the kernel's own. */
	return type && btf_is_func_proto(type) && btf_vlen(type) ? btf_vlen(type) - 1 : -ENOENT;
}

/* The first `count` enumerators of an enum; how many it has, or -ENOENT. */
static int ts_btf_enumerators(const struct btf *btf, const char *type, const char **names,
			      uint32_t *values, uint32_t count)
{
	int id = btf__find_by_name_kind(btf, type, BTF_KIND_ENUM);
	const struct btf_type *found;

	if (id < 0)
		return -ENOENT;
	found = btf__type_by_id(btf, id);
	for (uint32_t i = 0; i < btf_vlen(found) && i < count; i++) {
		names[i] = btf__name_by_offset(btf, btf_enum(found)[i].name_off);
		values[i] = btf_enum(found)[i].val;
	}
	return btf_vlen(found);
}

/* Ids of the tcx programs of a device in the order they run. */
static int ts_tcx_programs(int ifindex, int egress, uint32_t *ids, uint32_t count)
{
	uint32_t flags = 0;

	if (bpf_prog_query(ifindex, egress ? TS_TCX_EGRESS : TS_TCX_INGRESS, 0, &flags, ids,
			   &count))
		return -errno;
	return count;
}

static void ts_tc_hook(struct bpf_tc_hook *hook, int ifindex, int egress)
{
	memset(hook, 0, sizeof(*hook));
	hook->sz = sizeof(*hook);
	hook->ifindex = ifindex;
	hook->attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
}

/* 1 if the clsact qdisc was made, 0 if one was there. */
static int ts_clsact_create(int ifindex)
{
	struct bpf_tc_hook hook;
	int failed;

	ts_tc_hook(&hook, ifindex, 0);
	failed = bpf_tc_hook_create(&hook);
	if (failed == -EEXIST)
		return 0;
	return failed ? failed : 1;
}

/* Removes the qdisc with every filter on it: only for one that is ours alone. */
static int ts_clsact_destroy(int ifindex)
{
	struct bpf_tc_hook hook;

	ts_tc_hook(&hook, ifindex, 0);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	return bpf_tc_hook_destroy(&hook);
}

static int ts_clsact_attach(int ifindex, int egress, int prog_fd, uint32_t handle,
			    uint32_t priority, int replace)
{
	struct bpf_tc_hook hook;
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = handle, .priority = priority,
		    .flags = replace ? BPF_TC_F_REPLACE : 0);

	ts_tc_hook(&hook, ifindex, egress);
	return bpf_tc_attach(&hook, &opts);
}

static int ts_clsact_detach(int ifindex, int egress, uint32_t handle, uint32_t priority)
{
	struct bpf_tc_hook hook;
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = priority);

	ts_tc_hook(&hook, ifindex, egress);
	return bpf_tc_detach(&hook, &opts);
}

/* The program of the filter at this handle and priority. */
static int ts_clsact_query(int ifindex, int egress, uint32_t handle, uint32_t priority,
			   uint32_t *prog_id)
{
	struct bpf_tc_hook hook;
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = priority);
	int failed;

	ts_tc_hook(&hook, ifindex, egress);
	failed = bpf_tc_query(&hook, &opts);
	if (!failed)
		*prog_id = opts.prog_id;
	return failed;
}

/* A netlink socket that has asked for the filters of one side of a clsact qdisc. */
static int ts_filter_ask(int ifindex, int egress)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			    .nlmsg_type = RTM_GETTFILTER,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.tc = { .tcm_family = AF_UNSPEC,
			.tcm_ifindex = ifindex,
			.tcm_parent = TC_H_MAKE(TC_H_CLSACT,
						egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS) },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int failed;

	if (fd < 0)
		return -errno;
	if (send(fd, &request, sizeof(request), 0) == sizeof(request))
		return fd;
	failed = -errno;
	close(fd);
	return failed;
}

/*
 * The priorities of all filters of one side, ours and others', as they run;
 * how many there are, which may be more than `count`.
 */
static int ts_filter_priorities(int ifindex, int egress, uint32_t *priorities, uint32_t count)
{
	int fd = ts_filter_ask(ifindex, egress);
	char buffer[32768];
	uint32_t found = 0;

	if (fd < 0)
		return fd;
	for (;;) {
		int bytes = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *header = (struct nlmsghdr *)buffer;

		if (bytes <= 0)
			break;
		for (; NLMSG_OK(header, bytes); header = NLMSG_NEXT(header, bytes)) {
			struct tcmsg *tc = NLMSG_DATA(header);

			if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
				close(fd);
				return found;
			}
			/* A handle of 0 heads a priority; the filters follow it. */
			if (header->nlmsg_type != RTM_NEWTFILTER || !tc->tcm_handle)
				continue;
			if (found < count)
				priorities[found] = TC_H_MAJ(tc->tcm_info) >> 16;
			found++;
		}
	}
	close(fd);
	return -EIO;
}

/*
 * One BPF_PROG_TEST_RUN of a tc program. `ingress_ifindex` and `gso_bytes` go
 * into its __sk_buff where they are not 0.
 */
static int ts_test_run(int prog_fd, const void *frame, uint32_t bytes, uint32_t ifindex,
		       uint32_t ingress_ifindex, uint32_t gso_bytes, uint32_t repeat,
		       uint32_t *retval, uint32_t *duration_ns)
{
	struct __sk_buff context;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = bytes,
		    .repeat = repeat);

	memset(&context, 0, sizeof(context));
	context.ifindex = ifindex;
	context.ingress_ifindex = ingress_ifindex;
	context.gso_size = gso_bytes;
	opts.ctx_in = &context;
	opts.ctx_size_in = sizeof(context);
	if (bpf_prog_test_run_opts(prog_fd, &opts))
		return -errno;
	*retval = opts.retval;
	*duration_ns = opts.duration;
	return 0;
}

/*
 * Per-CPU arrays of u64 summed: for each of `keys` the `words` sums, one after
 * the other, in `sums`.
 */
static int ts_percpu_sums(int map_fd, const uint32_t *keys, uint32_t count, uint32_t words,
			  uint64_t *sums)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values;

	if (cpus < 0)
		return cpus;
	values = malloc((size_t)cpus * words * sizeof(*values));
	if (!values)
		return -ENOMEM;
	memset(sums, 0, (size_t)count * words * sizeof(*sums));
	for (uint32_t i = 0; i < count; i++) {
		if (bpf_map_lookup_elem(map_fd, &keys[i], values)) {
			free(values);
			return -errno;
		}
		for (int cpu = 0; cpu < cpus; cpu++)
			for (uint32_t word = 0; word < words; word++)
				sums[i * words + word] += values[cpu * words + word];
	}
	free(values);
	return 0;
}

/* Sets a per-CPU element to zero on every CPU. */
static int ts_percpu_clear(int map_fd, uint32_t key, uint32_t words)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *zeros;
	int failed;

	if (cpus < 0)
		return cpus;
	zeros = calloc((size_t)cpus * words, sizeof(*zeros));
	if (!zeros)
		return -ENOMEM;
	failed = bpf_map_update_elem(map_fd, &key, zeros, BPF_ANY) ? -errno : 0;
	free(zeros);
	return failed;
}

static int ts_map_create(const char *name, uint32_t type, uint32_t key_bytes, uint32_t value_bytes,
			 uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	int fd = bpf_map_create(type, name, key_bytes, value_bytes, entries, &opts);

	return fd < 0 ? -errno : fd;
}

/* A tc program of instructions alone. Where it is refused, the log says why. */
static int ts_tc_program_load(const char *name, const char *license, const void *instructions,
			      uint32_t count, uint32_t kernel_version)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .kern_version = kernel_version);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, license, instructions, count, &opts);
	int failed = fd < 0 ? -errno : 0;
	char *log;

	if (!failed)
		return fd;
	log = calloc(1, TS_VERIFIER_LOG_BYTES);
	if (!log)
		return failed;
	/* Once more, to be told: kernels before 6.4 fail where a log has no room. */
	opts.log_buf = log;
	opts.log_size = TS_VERIFIER_LOG_BYTES;
	opts.log_level = 1;
	fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, license, instructions, count, &opts);
	ts_log_append(log, strnlen(log, TS_VERIFIER_LOG_BYTES));
	free(log);
	return fd < 0 ? failed : fd;
}

static int ts_map_lookup(int map_fd, const void *key, void *value)
{
	return bpf_map_lookup_elem(map_fd, key, value) ? -errno : 0;
}

static int ts_map_update(int map_fd, const void *key, const void *value)
{
	return bpf_map_update_elem(map_fd, key, value, BPF_ANY) ? -errno : 0;
}

static int ts_map_delete(int map_fd, const void *key)
{
	return bpf_map_delete_elem(map_fd, key) ? -errno : 0;
}

/*
 * Up to *count elements of a hash, from where `token` stands (NULL: the beginning),
 * and where to go on. -ENOENT: *count elements, and there are no more.
 */
static int ts_map_lookup_batch(int map_fd, const uint8_t *token, uint8_t *next_token, void *keys,
			       void *values, uint32_t *count)
{
	return bpf_map_lookup_batch(map_fd, (void *)token, next_token, keys, values, count, NULL)
		       ? -errno
		       : 0;
}

/*
 * The keys of a hash; how many they are, at most `count`. One that vanishes
 * meanwhile starts the walk anew: keys may be there twice.
 */
static int ts_map_keys(int map_fd, uint8_t *keys, uint32_t key_bytes, uint32_t count)
{
	const uint8_t *last = NULL;

	for (uint32_t found = 0; found < count; found++) {
		if (bpf_map_get_next_key(map_fd, last, keys))
			return errno == ENOENT ? (int)found : -errno;
		last = keys;
		keys += key_bytes;
	}
	return count;
}

static int ts_possible_cpus(void)
{
	return libbpf_num_possible_cpus();
}

static int ts_queue_pop(int map_fd, void *value)
{
	return bpf_map_lookup_and_delete_elem(map_fd, NULL, value) ? -errno : 0;
}

/* Of a map: the bytes of a value, and how many elements it may have. */
static int ts_map_shape(int map_fd, uint32_t *value_bytes, uint32_t *max_entries)
{
	struct bpf_map_info info;
	uint32_t bytes = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (bpf_obj_get_info_by_fd(map_fd, &info, &bytes))
		return -errno;
	*value_bytes = info.value_size;
	*max_entries = info.max_entries;
	return 0;
}

static int ts_obj_get(const char *path)
{
	int fd = bpf_obj_get(path);

	return fd < 0 ? -errno : fd;
}

static int ts_obj_pin(int fd, const char *path)
{
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

static int ts_mount_bpffs(const char *path)
{
	return mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME,
		     "mode=0700")
		       ? -errno
		       : 0;
}

/* statfs(2)'s f_type; 64 bits, for bpffs' has the top one of 32 set. */
static int64_t ts_filesystem_magic(const char *path)
{
	struct statfs found;

	return statfs(path, &found) ? -errno : (int64_t)(uint32_t)found.f_type;
}

/* NULL on failure, with errno set. */
static uint8_t *ts_map_memory(int map_fd, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void ts_unmap_memory(uint8_t *memory, size_t bytes)
{
	munmap(memory, bytes);
}

static uint32_t ts_load_u32(const uint8_t *at)
{
	return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
}

static void ts_store_u32(uint8_t *at, uint32_t value)
{
	__atomic_store_n((uint32_t *)at, value, __ATOMIC_RELEASE);
}

static uint64_t ts_load_u64(const uint8_t *at)
{
	return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

static void ts_store_u64(uint8_t *at, uint64_t value)
{
	__atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE);
}

static void ts_add_u32(uint8_t *at, int32_t difference)
{
	__atomic_fetch_add((uint32_t *)at, difference, __ATOMIC_ACQ_REL);
}

/* The value before; `desired` is stored only where that was `expected`. */
static uint32_t ts_swap_u32(uint8_t *at, uint32_t expected, uint32_t desired)
{
	__atomic_compare_exchange_n((uint32_t *)at, &expected, desired, 0, __ATOMIC_ACQ_REL,
				    __ATOMIC_ACQUIRE);
	return expected;
}

/*
 * Waits until every program that was running when this was called has ended
 * (membarrier(2): GLOBAL is synchronize_rcu). What was stored before is then
 * seen by every frame.
 */
static int ts_wait_for_programs(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) ? -errno : 0;
}

/* Records of one drain, one after the other; `lengths` says where each ends. */
struct ts_ring {
	struct ring_buffer *ring;
	uint8_t *records;
	uint32_t *lengths;
	uint32_t smallest_bytes;
	uint32_t largest_bytes;
	uint32_t capacity;
	uint32_t used;
	size_t used_bytes;
};

static int ts_ring_sample(void *context, void *data, size_t bytes)
{
	struct ts_ring *ring = context;
	size_t kept = bytes < ring->largest_bytes ? bytes : ring->largest_bytes;

	if (bytes >= ring->smallest_bytes) {
		memcpy(ring->records + ring->used_bytes, data, kept);
		ring->used_bytes += kept;
		ring->lengths[ring->used++] = kept;
	}
	/* Any value below 0 ends the drain; the record itself is consumed. */
	return ring->used < ring->capacity ? 0 : -ENOBUFS;
}

static void ts_ring_close(struct ts_ring *ring)
{
	ring_buffer__free(ring->ring);
	free(ring->records);
	free(ring->lengths);
	free(ring);
}

/* Records shorter than `smallest_bytes` are left out, longer ones cut at `largest_bytes`. */
static struct ts_ring *ts_ring_open(int map_fd, uint32_t smallest_bytes, uint32_t largest_bytes,
				    uint32_t capacity)
{
	struct ts_ring *ring = calloc(1, sizeof(*ring));
	int failed;

	if (!ring)
		return NULL;
	ring->smallest_bytes = smallest_bytes;
	ring->largest_bytes = largest_bytes;
	ring->capacity = capacity;
	ring->records = malloc((size_t)largest_bytes * capacity);
	ring->lengths = malloc(sizeof(*ring->lengths) * capacity);
	if (ring->records && ring->lengths)
		ring->ring = ring_buffer__new(map_fd, ts_ring_sample, ring, NULL);
	if (!ring->ring) {
		failed = errno;
		ts_ring_close(ring);
		errno = failed;
		return NULL;
	}
	return ring;
}

static int ts_ring_fd(const struct ts_ring *ring)
{
	return ring_buffer__epoll_fd(ring->ring);
}

/* Up to `capacity` records, now in ring->records; how many. */
static int ts_ring_drain(struct ts_ring *ring)
{
	int result;

	ring->used = 0;
	ring->used_bytes = 0;
	result = ring_buffer__consume(ring->ring);
	return result < 0 && result != -ENOBUFS ? result : (int)ring->used;
}

static const uint8_t *ts_ring_records(const struct ts_ring *ring)
{
	return ring->records;
}

static const uint32_t *ts_ring_lengths(const struct ts_ring *ring)
{
	return ring->lengths;
}
