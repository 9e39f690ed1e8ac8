/*
 * uapi.h - kernel interfaces newer than the headers of Debian 12.
 *
 * Each is used only where the running kernel turns out to have it.
 */
#ifndef UAPI_H
#define UAPI_H

#include <linux/ioctl.h>
#include <stdint.h>
#include <sys/syscall.h>

/* ---- numbers of system calls ---- */

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* ---- ptrace ---- */

#define UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH 0x4211 /* 6.4 */
#define UAPI_PTRACE_SET_SYSCALL_USER_DISPATCH 0x4210

struct uapi_sud_config {
	uint64_t mode; /* PR_SYS_DISPATCH_OFF is 0 */
	uint64_t selector, offset, len;
};

#define UAPI_NT_X86_SHSTK 0x204 /* 6.6 */

/* ---- prctl ---- */

#define UAPI_PR_SET_MEMORY_MERGE 67 /* 6.4 */
#define UAPI_PR_GET_MEMORY_MERGE 68
#define UAPI_PR_THP_DISABLE_EXCEPT_ADVISED 2u /* 6.18 */
#define UAPI_PR_TIMER_CREATE_RESTORE_IDS 77   /* 6.15: 0 off, 1 on, 2 get */

#define UAPI_MEMBARRIER_GET_REGISTRATIONS (1 << 9) /* 6.3 */

/* ---- mmap, madvise ---- */

#define UAPI_MAP_DROPPABLE 0x08	    /* 6.11 */
#define UAPI_MADV_GUARD_INSTALL 102 /* 6.13 */
#define UAPI_MADV_GUARD_REMOVE 103
#define UAPI_MADV_COLLAPSE 25 /* 6.1 */

/* ---- PAGEMAP_SCAN on /proc/PID/pagemap, 6.7 ---- */

#define UAPI_PAGE_IS_WPALLOWED (1u << 0)
#define UAPI_PAGE_IS_WRITTEN (1u << 1)
#define UAPI_PAGE_IS_FILE (1u << 2)
#define UAPI_PAGE_IS_PRESENT (1u << 3)
#define UAPI_PAGE_IS_SWAPPED (1u << 4)
#define UAPI_PAGE_IS_PFNZERO (1u << 5)
#define UAPI_PAGE_IS_HUGE (1u << 6)
#define UAPI_PAGE_IS_SOFT_DIRTY (1u << 7)
#define UAPI_PAGE_IS_GUARD (1u << 8) /* 6.16 */

#define UAPI_PM_SCAN_WP_MATCHING (1u << 0)
#define UAPI_PM_SCAN_CHECK_WPASYNC (1u << 1)

struct uapi_page_region {
	uint64_t start, end, categories;
};

struct uapi_pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};

/*
 * At most so many regions are to be asked for.  The kernel gathers so many, and
 * goes on if there is room for more; if it then comes to the end, walk_end tells
 * how far it had come before (do_pagemap_scan(), Linux 6.7 to 6.18).  Whoever
 * went on from there would be told again.
 */
#define UAPI_PAGEMAP_REGIONS 512

#define UAPI_PAGEMAP_SCAN _IOWR('f', 16, struct uapi_pm_scan_arg)

/* ---- seccomp filters of a tracee, 4.4 and 4.16; not in all C libraries ---- */

#define UAPI_PTRACE_SECCOMP_GET_FILTER 0x420c
#define UAPI_PTRACE_SECCOMP_GET_METADATA 0x420d

struct uapi_seccomp_metadata {
	uint64_t filter_off, flags;
};

/* ---- PROCMAP_QUERY on /proc/PID/maps, 6.11 ---- */

#define UAPI_PROCMAP_VMA_READABLE 0x01u
#define UAPI_PROCMAP_VMA_WRITABLE 0x02u
#define UAPI_PROCMAP_VMA_EXECUTABLE 0x04u
#define UAPI_PROCMAP_VMA_SHARED 0x08u
#define UAPI_PROCMAP_COVERING_OR_NEXT_VMA 0x10u
#define UAPI_PROCMAP_FILE_BACKED_VMA 0x20u

struct uapi_procmap_query {
	uint64_t size, query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size;
	uint64_t vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};

#define UAPI_PROCMAP_QUERY _IOWR('f', 17, struct uapi_procmap_query)

/* ---- userfaultfd, 6.4 to 6.8 ---- */

#define UAPI_UFFD_FEATURE_WP_UNPOPULATED (1u << 13)
#define UAPI_UFFD_FEATURE_POISON (1u << 14)
#define UAPI_UFFD_FEATURE_WP_ASYNC (1u << 15)
#define UAPI_UFFD_FEATURE_MOVE (1u << 16)

struct uapi_uffdio_poison { /* 6.6 */
	uint64_t start, len, mode;
	int64_t updated;
};

#define UAPI_UFFDIO_POISON _IOWR(0xaa, 0x08, struct uapi_uffdio_poison)

#endif
