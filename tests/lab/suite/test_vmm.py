"""The hand-over "attached", used by a program that may not attach (tests/lab/vmm)."""
from lab import addr, configure, driver_of, equal, run, test, wait_free


@test("intel", "amd")
def a_program_drives_a_device_that_it_could_not_attach():
    edu = addr("busreset")
    configure(alice=(["busreset"], {"HandOver": "attached"}))
    result = run(["iommuctl", "run", "--hand-over", "attached", "-d", edu, "--", "/lab/vmm", "{iommufd}", "{ioas}", "{0}"], "alice")
    said = result.stdout.splitlines()
    equal(result.returncode, 0, f"the program says {said}; its status")
    equal([line.partition(":")[0] for line in said], ["sandbox", "bar", "interrupt", "dma", "dma"])
    wait_free(edu)
    equal(driver_of(edu), "")
