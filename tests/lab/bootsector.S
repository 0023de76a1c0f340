# bootsector.S: proof that a machine booted from this disk. Prints one line, reads the second sector, prints what it says,
# and powers a q35 machine off. The text is in the second sector so that it can only come through the disk.
.code16
.globl _start
_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    push %dx                    # the BIOS's number of the boot disk
    mov $booted, %si
    call puts
    pop %dx
    mov $packet, %si
    mov $0x42, %ah              # extended read
    int $0x13
    jc failed
    mov $0x8000, %si
    call puts
    jmp off
failed:
    mov $unread, %si
    call puts
off:
    mov $0x604, %dx             # ACPI PM1a control: soft off
    mov $0x2000, %ax
    outw %ax, %dx
1:  hlt
    jmp 1b

puts:                           # zero-terminated text at %si to the first serial port
    lodsb
    test %al, %al
    jz 3f
    mov %al, %bl
    mov $0x3fd, %dx
2:  inb %dx, %al
    test $0x20, %al             # transmitter empty
    jz 2b
    mov %bl, %al
    mov $0x3f8, %dx
    outb %al, %dx
    jmp puts
3:  ret

packet:                         # one sector, number 1, to 0000:8000
    .byte 0x10, 0
    .word 1
    .word 0x8000, 0
    .quad 1
booted: .asciz "BOOT SECTOR READ\r\n"
unread: .asciz "SECOND SECTOR NOT READ\r\n"
.org 510
.word 0xaa55
.asciz "Hello from the brokered NVMe\r\n"
.org 1024
