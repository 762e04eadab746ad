# Documents.
dist_man_MANS += man/dmabufd.8 man/dmabufctl.1 man/libdmabufd.3 man/libdmabufd-heap.3 \
	man/libdmabufd-pool.3
dist_doc_DATA = README.md doc/architecture.md doc/kernel.md
