/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages for buffers; see memory.h. */
#include "daemon/keeper/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

#define HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-%llukB/%s"
#define SEALS     (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint64_t hugepage_count(uint64_t page_size, const char *what)
{
    unsigned long long count = 0;
    char path[96];
    FILE *file;

    snprintf(path, sizeof(path), HUGEPAGES, (unsigned long long)(page_size >> 10), what);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &count) != 1)
        count = 0;
    fclose(file);
    return count;
}

/* Free huge pages that nobody else has a reservation for, and that this placement can use. */
static uint64_t hugepages_free(const struct nodes *nodes, const struct placement *placement,
                               uint64_t page_size)
{
    uint64_t free_pages = hugepage_count(page_size, "free_hugepages");
    uint64_t reserved = hugepage_count(page_size, "resv_hugepages");
    uint64_t unreserved = free_pages > reserved ? free_pages - reserved : 0;
    uint64_t of_node;

    if (!placement_binds(nodes, placement))
        return unreserved;
    of_node = nodes_huge(nodes, placement->node, page_size, "free_hugepages");
    return of_node < unreserved ? of_node : unreserved;
}

static bool hugepages_exist(uint64_t page_size)
{
    char path[96];

    snprintf(path, sizeof(path), HUGEPAGES, (unsigned long long)(page_size >> 10), "nr_hugepages");
    return access(path, R_OK) == 0;
}

/* A field of /proc/meminfo in bytes. */
static int meminfo(const struct memory *memory, const char *field, uint64_t *ret)
{
    char text[4096], *found;
    unsigned long long kib;
    ssize_t n = pread(memory->meminfo, text, sizeof(text) - 1, 0);

    if (n < 0)
        return -errno;
    text[n] = '\0';
    found = strstr(text, field);
    if (!found || sscanf(found + strlen(field), "%llu", &kib) != 1)
        return -ENODATA;
    *ret = (uint64_t)kib << 10;
    return 0;
}

int memory_init(struct memory *memory, uint64_t limit, uint64_t reserve, struct fault *fault)
{
    int r;

    *memory = (struct memory){ .limit = limit, .reserve = reserve };
    nodes_init(&memory->nodes, NODES_FOLDER, ZONES_FILE);
    memory->meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    r = memory->meminfo < 0 ? -errno : meminfo(memory, "MemTotal:", &memory->max_size);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, -r, "cannot read /proc/meminfo: %s",
                         strerror(-r));
    memory->max_size &= ~(PAGE_4K - 1);
    return 0;
}

void memory_deinit(struct memory *memory)
{
    if (memory->meminfo > 0)
        fd_close(&memory->meminfo);
    memory->meminfo = 0;
}

size_t memory_page_sizes(uint64_t sizes[4])
{
    size_t n = 0;

    memset(sizes, 0, 4 * sizeof(*sizes));
    sizes[n++] = PAGE_4K;
    if (hugepages_exist(PAGE_2M))
        sizes[n++] = PAGE_2M;
    if (hugepages_exist(PAGE_1G))
        sizes[n++] = PAGE_1G;
    return n;
}

int memory_round(const struct memory *memory, uint64_t size, uint64_t page_size, uint64_t *ret,
                 struct fault *fault)
{
    uint64_t rounded;

    if (size == 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL, "size is 0: ask for at least a byte");
    if (__builtin_add_overflow(size, page_size - 1, &rounded) || rounded > INT64_MAX)
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG,
                         "size %llu is more than a file can have", (unsigned long long)size);
    rounded &= ~(page_size - 1);
    if (size > memory->max_size)
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG,
                         "size %llu is more than this host's memory (%llu bytes)",
                         (unsigned long long)size, (unsigned long long)memory->max_size);
    *ret = rounded;
    return 0;
}

static int no_huge_pages_on_node(const struct nodes *nodes, const struct placement *placement,
                                 uint64_t need, uint64_t page_size, struct fault *fault)
{
    unsigned long long kib = page_size >> 10;

    return fault_set(
        fault, DMABUFD_CODE_NO_HUGE_PAGES, ENOMEM,
        "%llu huge pages of %llu KiB are needed on node %u, where %llu of %llu are "
        "free: write a larger number to "
        "%s/node%u/hugepages/hugepages-%llukB/nr_hugepages, or make the node preferred",
        (unsigned long long)need, kib, placement->node,
        (unsigned long long)hugepages_free(nodes, placement, page_size),
        (unsigned long long)nodes_huge(nodes, placement->node, page_size, "nr_hugepages"),
        nodes->folder, placement->node, kib);
}

static int no_huge_pages(const struct nodes *nodes, const struct placement *placement,
                         uint64_t size, uint64_t page_size, struct fault *fault)
{
    uint64_t need = size / page_size + (size % page_size != 0);

    if (placement_binds(nodes, placement))
        return no_huge_pages_on_node(nodes, placement, need, page_size, fault);
    return fault_set(fault, DMABUFD_CODE_NO_HUGE_PAGES, ENOMEM,
                     "%llu huge pages of %llu KiB are needed and %llu of %llu are free: write a "
                     "larger number to /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages%s, "
                     "or ask for page size auto",
                     (unsigned long long)need, (unsigned long long)(page_size >> 10),
                     (unsigned long long)hugepages_free(nodes, placement, page_size),
                     (unsigned long long)hugepage_count(page_size, "nr_hugepages"),
                     (unsigned long long)(page_size >> 10),
                     page_size == PAGE_2M ? " (sysctl vm.nr_hugepages)" : "");
}

static bool enough_free(const struct nodes *nodes, const struct placement *placement, uint64_t size,
                        uint64_t page_size)
{
    return hugepages_free(nodes, placement, page_size) >=
           size / page_size + (size % page_size != 0);
}

bool memory_wants_runs(const struct dmabufd_constraints *constraints)
{
    return (constraints->flags & DMABUFD_CONTIGUOUS) || constraints->max_segments ||
           constraints->min_span > PAGE_4K || constraints->alignment > PAGE_4K;
}

int memory_choose(const struct memory *memory, uint64_t size, uint64_t wanted,
                  const struct dmabufd_constraints *constraints, uint64_t choices[3],
                  struct fault *fault)
{
    const struct placement placement = placement_of(constraints);
    const struct nodes *nodes = &memory->nodes;
    bool runs = memory_wants_runs(constraints);
    int n = 0;

    if (wanted != 0 && wanted != PAGE_4K && wanted != PAGE_2M && wanted != PAGE_1G)
        return fault_set(
            fault, DMABUFD_CODE_INVALID, EINVAL,
            "page size %llu is none: 4096, 2097152, 1073741824, or 0 for the best that "
            "is free",
            (unsigned long long)wanted);
    if (wanted > PAGE_4K && !hugepages_exist(wanted))
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "this host has no huge pages of %llu KiB",
                         (unsigned long long)(wanted >> 10));
    if (wanted > PAGE_4K && !enough_free(nodes, &placement, size, wanted))
        return no_huge_pages(nodes, &placement, size, wanted, fault);
    if (wanted != 0) {
        choices[n++] = wanted;
        return n;
    }
    if (size >= PAGE_1G && size % PAGE_1G == 0 && enough_free(nodes, &placement, size, PAGE_1G))
        choices[n++] = PAGE_1G;
    if ((size >= PAGE_2M || runs) && enough_free(nodes, &placement, size, PAGE_2M))
        choices[n++] = PAGE_2M;
    choices[n++] = PAGE_4K;
    /* The last resort is wasteful. */
    if (runs && n < 3 && choices[0] != PAGE_1G && size <= PAGE_1G &&
        enough_free(nodes, &placement, size, PAGE_1G))
        choices[n++] = PAGE_1G;
    return n;
}

uint64_t memory_huge_free(const struct memory *memory, const struct placement *placement,
                          uint64_t page_size)
{
    return hugepages_free(&memory->nodes, placement, page_size) * page_size;
}

int memory_charge(struct memory *memory, uint64_t size, uint64_t page_size, struct fault *fault)
{
    uint64_t charged = atomic_load(&memory->charged);

    if (page_size != PAGE_4K)
        return 0;
    do {
        if (size > memory->limit || charged > memory->limit - size)
            return fault_set(
                fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                "the daemon's limit for memory outside huge pages is %llu MiB and %llu "
                "MiB are left of it: free buffers or raise --memory-limit",
                (unsigned long long)(memory->limit >> 20),
                (unsigned long long)((memory->limit - charged) >> 20));
    } while (!atomic_compare_exchange_weak(&memory->charged, &charged, charged + size));
    return 0;
}

void memory_release(struct memory *memory, uint64_t size, uint64_t page_size)
{
    if (page_size == PAGE_4K)
        atomic_fetch_sub(&memory->charged, size);
}

int memory_populate(int fd, uint64_t offset, uint64_t length)
{
    void *window = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    int r = 0;

    if (window == MAP_FAILED)
        return -errno;
    if (madvise(window, length, MADV_POPULATE_WRITE) < 0)
        r = -errno;
    munmap(window, length);
    return r;
}

int memory_empty(int fd, uint64_t offset, uint64_t length)
{
    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) <
           0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static unsigned int memfd_flags(uint64_t page_size)
{
    if (page_size == PAGE_2M)
        return MFD_HUGETLB | MFD_HUGE_2MB;
    if (page_size == PAGE_1G)
        return MFD_HUGETLB | MFD_HUGE_1GB;
    return 0;
}

int memory_create(struct memory *memory, uint64_t size, uint64_t page_size, int *ret_fd,
                  struct fault *fault)
{
    CLEANUP_FD int fd = -1;
    int r = memfd_open("dmabufd", memfd_flags(page_size), &fd);

    if (r == -EMFILE || r == -ENFILE)
        return fault_set(fault, DMABUFD_CODE_LIMIT, -r,
                         "the daemon is out of file descriptors: use fewer and larger buffers, or "
                         "raise its LimitNOFILE=");
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r, "cannot make a memfd: %s",
                         strerror(-r));
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, errno, "cannot size and seal a memfd: %s",
                         strerror(errno));
    r = memory_charge(memory, size, page_size, fault);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* An allocation that the host cannot bear does not fail: the OOM killer comes. */
static int check_available(const struct memory *memory, uint64_t length, struct fault *fault)
{
    uint64_t available;

    if (meminfo(memory, "MemAvailable:", &available) == 0 &&
        (available < memory->reserve || available - memory->reserve < length))
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "the host has %llu MiB of memory available and %llu MiB of them stay with "
                         "it: free memory or lower --memory-reserve",
                         (unsigned long long)(available >> 20),
                         (unsigned long long)(memory->reserve >> 20));
    return 0;
}

/* @ret_kept: of that, its share of the reserve. */
static int node_available(const struct memory *memory, uint32_t node, uint64_t *ret_available,
                          uint64_t *ret_kept)
{
    uint64_t total;
    int r = nodes_memory(&memory->nodes, node, ret_available, &total);

    /* In pages: the product stays within 64 bits. */
    if (r == 0)
        *ret_kept = (memory->reserve / PAGE_4K) * (total / PAGE_4K) / (memory->max_size / PAGE_4K) *
                    PAGE_4K;
    return r;
}

static uint64_t above(uint64_t n, uint64_t least)
{
    return n > least ? n - least : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t memory_spare(const struct memory *memory, const struct placement *placement)
{
    uint64_t spare = above(memory->limit, atomic_load(&memory->charged));
    uint64_t available = 0, kept = 0;

    if (meminfo(memory, "MemAvailable:", &available) == 0)
        spare = smaller(spare, above(available, memory->reserve));
    if (placement_binds(&memory->nodes, placement) &&
        node_available(memory, placement->node, &available, &kept) == 0)
        spare = smaller(spare, above(available, kept));
    return spare;
}

/* The same for a strict node, which keeps its share of the reserve: a thread that is bound to a full
 * node brings the OOM killer, however much there is on others. */
static int check_node(const struct memory *memory, const struct placement *placement,
                      uint64_t length, struct fault *fault)
{
    uint64_t available = 0, kept = 0;
    int r = node_available(memory, placement->node, &available, &kept);

    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "cannot see how much memory node %u has: %s", placement->node,
                         strerror(-r));
    if (available >= kept && available - kept >= length)
        return 0;
    return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                     "node %u has %llu MiB of memory available and %llu MiB of them stay with it, "
                     "its share of --memory-reserve: free memory there, or make the node preferred",
                     placement->node, (unsigned long long)(available >> 20),
                     (unsigned long long)(kept >> 20));
}

int memory_prepare(struct memory *memory, const struct placement *placement, int fd,
                   uint64_t page_size, uint64_t offset, uint64_t length, struct fault *fault)
{
    int r;

    if (page_size == PAGE_4K) {
        r = check_available(memory, length, fault);
        return r == 0 && placement_binds(&memory->nodes, placement)
                   ? check_node(memory, placement, length, fault)
                   : r;
    }
    while (fallocate(fd, 0, (off_t)offset, (off_t)length) < 0) {
        if (errno != EINTR)
            return no_huge_pages(&memory->nodes, placement, length, page_size, fault);
    }
    return 0;
}

static int refuse_foreign(struct fault *fault, int error, const char *why)
{
    return fault_set(fault, DMABUFD_CODE_INVALID, error, "this memory cannot be registered: %s",
                     why);
}

/* What can be told from the descriptor alone. */
static int check_descriptor(int fd, struct stat *st, uint64_t *ret_page_size, struct fault *fault)
{
    int flags = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;

    if (flags < 0 || fstat(fd, st) < 0 || fstatfs(fd, &fs) < 0 || seals < 0 ||
        (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
        return refuse_foreign(fault, EOPNOTSUPP, "it is not a memfd");
    if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH))
        return refuse_foreign(fault, EACCES, "its descriptor is not open for reading and writing");
    if (!(seals & F_SEAL_SHRINK))
        return refuse_foreign(fault, EPERM,
                              "it is not sealed against shrinking: make it with MFD_ALLOW_SEALING "
                              "and add F_SEAL_SHRINK");
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return refuse_foreign(fault, EPERM, "it is sealed against writing, and a device would");
    *ret_page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : PAGE_4K;
    return 0;
}

/* Shared memory tells of holes, pages that were never touched included; huge pages only in total. */
static bool has_all_pages(int fd, const struct stat *st, uint64_t page_size, uint64_t end,
                          uint64_t offset)
{
    off_t position, hole;

    if (page_size != PAGE_4K)
        return (uint64_t)st->st_blocks >= (uint64_t)st->st_size / 512;
    /* The position is the client's, too. */
    position = lseek(fd, 0, SEEK_CUR);
    hole = lseek(fd, (off_t)offset, SEEK_HOLE);
    lseek(fd, position, SEEK_SET);
    return hole >= 0 && (uint64_t)hole >= end;
}

int memory_check_foreign(int fd, uint64_t offset, uint64_t size, uint64_t *ret_page_size,
                         struct fault *fault)
{
    uint64_t page_size = PAGE_4K, end;
    struct stat st;
    int r = check_descriptor(fd, &st, &page_size, fault);

    if (r < 0)
        return r;
    if (size == 0 || ((offset | size) & (page_size - 1)))
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "this memory cannot be registered: offset and size must be multiples of "
                         "its page size, %llu, and size not 0",
                         (unsigned long long)page_size);
    if (__builtin_add_overflow(offset, size, &end) || end > (uint64_t)st.st_size)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "this memory cannot be registered: offset and size reach beyond its end "
                         "at %llu",
                         (unsigned long long)st.st_size);
    if (!has_all_pages(fd, &st, page_size, end, offset))
        return refuse_foreign(fault, ENXIO,
                              "some of its pages are missing or were never written: write to all "
                              "of them first");
    *ret_page_size = page_size;
    return 0;
}
