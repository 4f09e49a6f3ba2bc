module mach/go_client

go 1.21
