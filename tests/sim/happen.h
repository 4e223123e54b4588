/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run of the simulator must have seen: counted where it happens, printed by fault.c. */
#ifndef COLOFS_TESTS_HAPPEN_H
#define COLOFS_TESTS_HAPPEN_H

/* Each: its number, its words. One that never happened in 200 seeds (sim.c) fails the run. */
#define HAPPENINGS(X) \
	X(H_POWER_PRIMARY, "power lost, primary") \
	X(H_POWER_BACKUP, "power lost, backup") \
	X(H_KILL_PRIMARY, "killed, primary") \
	X(H_KILL_BACKUP, "killed, backup") \
	X(H_BOTH, "power lost on both at once") \
	X(H_STATES, "recoveries from a subset of unsynced writes") \
	X(H_TORN, "writes torn at a sector") \
	X(H_REORDERED, "writes that lasted while an older one was lost") \
	X(H_NAMES_LOST, "names taken back by a crash") \
	X(H_CUT, "connections cut") \
	X(H_HALF_OPEN, "connections cut that one side took for up") \
	X(H_STALL, "stalls") \
	X(H_STALL_ONE_WAY, "stalls of one direction") \
	X(H_PARTITION, "partitions") \
	X(H_BYTEWISE, "reads of one byte") \
	X(H_DUPLICATE, "second connections of a node") \
	X(H_REPLACED, "sessions that one of them ended") \
	X(H_EIO_WRITE_PRIMARY, "failed writes, primary's image") \
	X(H_ENOSPC_PRIMARY, "no space, primary's image") \
	X(H_EIO_READ_PRIMARY, "failed reads, primary's image") \
	X(H_BEHIND, "ranges a primary could not read for its peer") \
	X(H_SYNC_PRIMARY, "failed fdatasyncs, primary's image") \
	X(H_EIO_WRITE_IMAGE, "failed writes, backup's image") \
	X(H_EIO_READ_IMAGE, "failed reads, backup's image") \
	X(H_ENOSPC_IMAGE, "no space, backup's image") \
	X(H_SYNC_IMAGE, "failed fdatasyncs, backup's image") \
	X(H_EIO_WRITE_JOURNAL, "failed writes, journal") \
	X(H_EIO_READ_JOURNAL, "failed reads, journal") \
	X(H_ENOSPC_JOURNAL, "no space, journal") \
	X(H_SYNC_JOURNAL, "failed fdatasyncs, journal") \
	X(H_EIO_OVERLAY, "failed requests, overlay") \
	X(H_EIO_ACTIVITY, "failed requests, activity map") \
	X(H_ACTIVITY, "restarted primaries that had their activity map") \
	X(H_ACTIVITY_DELTA, "... and sent a delta by it") \
	X(H_ACTIVITY_DAMAGE, "activity maps damaged or lost between two lives") \
	X(H_ACTIVITY_BAD, "restarted primaries that did not believe it") \
	X(H_EIO_STATE, "failed saves of the state") \
	X(H_EIO_NAMES, "failed creates, renames, removes, directory syncs") \
	X(H_LOST_BY_SYNC, "writes lost by a failed fdatasync, later ones succeeding") \
	X(H_FAILED_MODE, "nodes in mode failed") \
	X(H_LATE, "nodes that were not scheduled for a while") \
	X(H_WALL, "jumps of the wall clock") \
	X(H_GUEST_ERROR, "errors the primary's guest got from its own disk") \
	X(H_TRUNCATE, "truncates") \
	X(H_DISCARD, "discards and zeroed ranges") \
	X(H_CREATE, "creates") \
	X(H_UNLINK, "unlinks") \
	X(H_RENAME, "renames") \
	X(H_ODD, "requests that end within a sector") \
	X(H_PROTECTED, "times protected") \
	X(H_JOURNALLED, "batches written to a journal") \
	X(H_HASHED, "ranges compared by hash") \
	X(H_REFUSED_FULL, "epochs refused: journal full") \
	X(H_OVERLAY_FULL, "writes refused: overlay full") \
	X(H_APART, "disconnects by order") \
	X(H_START_REFUSED, "starts refused: the peer could not be asked") \
	X(H_START_ALONE, "starts without asking the peer") \
	X(H_START_OLD, "starts of a primary whose peer was promoted") \
	X(H_FENCE, "fence commands") \
	X(H_FENCE_FAILED, "fence commands that did not fence") \
	X(H_FENCE_VOID, "fence commands whose peer was heard meanwhile") \
	X(H_FENCE_FAILOVER, "failovers without an order") \
	X(H_STOP_CLEAN, "stops in order that said all is on disk") \
	X(H_FSYNC_COMMITTED, "fsyncs that waited for a commit") \
	X(H_PREPARED, "epochs prepared") \
	X(H_PREPARED_TAKEN, "prepared epochs committed") \
	X(H_PREPARED_DROPPED, "prepared epochs aborted") \
	X(H_FAILOVER, "failovers") \
	X(H_FAILOVER_KEPT, "failovers that took a prepared epoch") \
	X(H_FAILOVER_DROP, "failovers with drop-overlay") \
	X(H_FAILOVER_EPOCH, "failovers with epoch=") \
	X(H_FAILOVER_STALE, "failovers refused: another epoch") \
	X(H_FAILOVER_FORCE, "failovers by force, link up") \
	X(H_OVERLAY_TAKEN, "failovers that took overlay writes") \
	X(H_SWITCHED, "switchovers") \
	X(H_SWITCH_BUSY, "switchovers refused: open for writing") \
	X(H_SWITCH_FAILED, "switchovers without a swap") \
	X(H_SWITCH_HALF, "switchovers cut in the middle: two backups") \
	X(H_RETURNED, "old primaries that came back with their disk") \
	X(H_KEPT, "unfinished epochs that the next session went on with") \
	X(H_REJOIN_DELTA, "syncs of an old primary with what either wrote, nothing else") \
	X(H_REJOINED, "copies that became level by themselves") \
	X(H_SPLIT, "words of split brain") \
	X(H_DISCARDED, "copies discarded by order that became level") \
	X(H_STALE_FAILOVER, "failovers refused: not level") \
	X(H_VERIFIED, "verifies that came to their end") \
	X(H_RESYNC, "resyncs by order") \
	X(H_RESYNC_FULL, "... that compared everything") \
	X(H_PART, "parts of resyncs in-place") \
	X(H_PART_BUSY, "... refused: an image is open there") \
	X(H_IN_PLACE, "copies that were level again behind the last one") \
	X(H_INTERRUPTED, "verifies and resyncs interrupted") \
	X(H_SET, "options set while running") \
	X(H_FLIP_PRIMARY, "bytes flipped in a file of the primary") \
	X(H_FLIP_BACKUP, "bytes flipped in a file of the backup") \
	X(H_MENDED, "... found by verify or resync full, and mended")

enum happening {
#define X(id, text) id,
	HAPPENINGS(X)
#undef X
	HAPPENINGS_COUNT
};

#endif
