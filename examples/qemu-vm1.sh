#!/bin/sh
# A guest on the primary. cache=none with any aio; writeback works too, its flushes are what reaches the disk.
exec qemu-system-x86_64 -machine q35,accel=kvm:tcg -m 1G -smp 2 -nographic \
	-drive file=/srv/vm1/disk.img,format=raw,if=virtio,cache=none,aio=io_uring,discard=unmap,detect-zeroes=unmap \
	-nic user,model=virtio-net-pci "$@"
