# SPDX-License-Identifier: Apache-2.0
"""Builds `sentinel.loader._libbpf`: shim.c and libbpf, through cffi's API mode.

The declarations below are checked by the C compiler against shim.c and
libbpf's own headers; layouts of maps are not among them, they come from
`sentinel.abi`.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

SHIM = Path(__file__).with_name("shim.c")

ffibuilder = FFI()
ffibuilder.set_source(
    "sentinel.loader._libbpf",
    SHIM.read_text(encoding="utf-8"),
    libraries=["bpf"],
    extra_compile_args=["-Wall", "-Wno-unused-function"],
)
ffibuilder.cdef(
    """
    struct bpf_object; struct bpf_program; struct bpf_map; struct ts_ring; struct btf;

    struct bpf_object *bpf_object__open_file(const char *path, const void *opts);
    int bpf_object__load(struct bpf_object *obj);
    void bpf_object__close(struct bpf_object *obj);
    struct bpf_program *bpf_object__next_program(
        const struct bpf_object *obj, struct bpf_program *prog);
    struct bpf_map *bpf_object__next_map(const struct bpf_object *obj, const struct bpf_map *map);
    const char *bpf_program__name(const struct bpf_program *prog);
    int bpf_program__fd(const struct bpf_program *prog);
    const char *bpf_map__name(const struct bpf_map *map);
    int bpf_map__set_pin_path(struct bpf_map *map, const char *path);
    struct btf *btf__load_vmlinux_btf(void);
    struct btf *btf__load_module_btf(const char *module_name, struct btf *vmlinux_btf);
    void btf__free(struct btf *btf);
    uint32_t libbpf_major_version(void);
    uint32_t libbpf_minor_version(void);

    const char *ts_log(void);
    void ts_log_start(void);
    int ts_object_enum(struct bpf_object *object, const char *type, const char *name);
    int ts_tcx_link(int prog_fd, int ifindex, int egress);
    int ts_link_update(int link_fd, int prog_fd);
    int ts_link_detach(int link_fd);
    int ts_link_info(int link_fd, uint32_t *ifindex, uint32_t *prog_id);
    int ts_prog_id(int prog_fd, uint32_t *id);
    int ts_prog_name(uint32_t id, char *name);
    int ts_prog_misses(int prog_fd, uint64_t *misses);
    int ts_tracepoint_open(int prog_fd);
    int ts_tracepoint_arguments(const struct btf *btf, const char *tracepoint);
    int ts_btf_enumerators(const struct btf *btf, const char *type, const char **names,
                           uint32_t *values, uint32_t count);
    int ts_tcx_programs(int ifindex, int egress, uint32_t *ids, uint32_t count);
    int ts_clsact_create(int ifindex);
    int ts_clsact_destroy(int ifindex);
    int ts_clsact_attach(int ifindex, int egress, int prog_fd, uint32_t handle,
                         uint32_t priority, int replace);
    int ts_clsact_detach(int ifindex, int egress, uint32_t handle, uint32_t priority);
    int ts_clsact_query(int ifindex, int egress, uint32_t handle, uint32_t priority,
                        uint32_t *prog_id);
    int ts_filter_priorities(int ifindex, int egress, uint32_t *priorities, uint32_t count);
    int ts_map_shape(int map_fd, uint32_t *value_bytes, uint32_t *max_entries);
    int ts_test_run(int prog_fd, const void *frame, uint32_t bytes, uint32_t ifindex,
                    uint32_t ingress_ifindex, uint32_t gso_bytes, uint32_t repeat,
                    uint32_t *retval, uint32_t *duration_ns);
    int ts_percpu_sums(int map_fd, const uint32_t *keys, uint32_t count, uint32_t words,
                       uint64_t *sums);
    int ts_percpu_clear(int map_fd, uint32_t key, uint32_t words);
    int ts_map_create(const char *name, uint32_t type, uint32_t key_bytes,
                      uint32_t value_bytes, uint32_t entries, uint32_t flags);
    int ts_tc_program_load(const char *name, const char *license, const void *instructions,
                           uint32_t count, uint32_t kernel_version);
    int ts_map_lookup(int map_fd, const void *key, void *value);
    int ts_map_update(int map_fd, const void *key, const void *value);
    int ts_map_delete(int map_fd, const void *key);
    int ts_map_lookup_batch(int map_fd, const uint8_t *token, uint8_t *next_token, void *keys,
                            void *values, uint32_t *count);
    int ts_map_keys(int map_fd, uint8_t *keys, uint32_t key_bytes, uint32_t count);
    int ts_possible_cpus(void);
    int ts_queue_pop(int map_fd, void *value);
    int ts_obj_get(const char *path);
    int ts_obj_pin(int fd, const char *path);
    int ts_mount_bpffs(const char *path);
    int64_t ts_filesystem_magic(const char *path);
    uint8_t *ts_map_memory(int map_fd, size_t bytes);
    void ts_unmap_memory(uint8_t *memory, size_t bytes);
    uint32_t ts_load_u32(const uint8_t *at);
    void ts_store_u32(uint8_t *at, uint32_t value);
    uint64_t ts_load_u64(const uint8_t *at);
    void ts_store_u64(uint8_t *at, uint64_t value);
    void ts_add_u32(uint8_t *at, int32_t difference);
    uint32_t ts_swap_u32(uint8_t *at, uint32_t expected, uint32_t desired);
    int ts_wait_for_programs(void);
    struct ts_ring *ts_ring_open(int map_fd, uint32_t smallest_bytes, uint32_t largest_bytes,
                                 uint32_t capacity);
    int ts_ring_fd(const struct ts_ring *ring);
    int ts_ring_drain(struct ts_ring *ring);
    const uint8_t *ts_ring_records(const struct ts_ring *ring);
    const uint32_t *ts_ring_lengths(const struct ts_ring *ring);
    void ts_ring_close(struct ts_ring *ring);
    """
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
