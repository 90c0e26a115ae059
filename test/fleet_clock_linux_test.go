package test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// shiftClock writes a copy of a program of ours whose clock is wrong. A namespace can't have a time of day of its own, and nothing can be
// loaded before a static program, so the copy is changed where Go's runtime reads the clock (runtime/time_linux_amd64.s):
//
//	call clock_gettime; ret: MOVQ 16(SP), AX …
//
// The first instruction at ret becomes a jump into the code for kernels without vDSO, which isn't used, and there the shift is added.
func shiftClock(program, to string, by time.Duration) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	file, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("shift the clock of %s: %w", program, err)
	}
	code, err := codeOf(file, text, "time.now")
	if err != nil {
		return fmt.Errorf("shift the clock of %s: %w", program, err)
	}
	load := []byte{0x48, 0x8b, 0x44, 0x24, 0x10}                     // MOVQ 16(SP), AX: the seconds
	unused := []byte{0xc7, 0xc0, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05} // MOVQ $228, AX; SYSCALL
	ret, fallback := bytes.Index(code, load), bytes.Index(code, unused)
	if fallback < 0 { // the short form
		unused = []byte{0xb8, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05}
		fallback = bytes.Index(code, unused)
	}
	if file.Machine != elf.EM_X86_64 || ret < 0 || bytes.Count(code, load) != 1 || fallback < ret || fallback+16 > len(code) {
		return fmt.Errorf("shift the clock of %s: Go's runtime doesn't read the clock as it did: % x", program, code)
	}
	jump := func(at, to int) { // from an offset in code to another
		code[at] = 0xe9
		binary.LittleEndian.PutUint32(code[at+1:], uint32(int32(to-(at+5))))
	}
	jump(ret, fallback)
	copy(code[fallback:], load)
	copy(code[fallback+5:], []byte{0x48, 0x05}) // ADDQ $shift, AX
	binary.LittleEndian.PutUint32(code[fallback+7:], uint32(int32(by/time.Second)))
	jump(fallback+11, ret+len(load))
	return os.WriteFile(to, text, 0o700)
}

// codeOf returns the part of an ELF file that is a function's code.
func codeOf(file *elf.File, text []byte, name string) ([]byte, error) {
	symbols, err := file.Symbols()
	if err != nil {
		return nil, err
	}
	for i := range symbols {
		s := &symbols[i]
		if s.Name != name || s.Size == 0 {
			continue
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value+s.Size <= p.Vaddr+p.Filesz {
				at := s.Value - p.Vaddr + p.Off
				return text[at : at+s.Size], nil
			}
		}
	}
	return nil, fmt.Errorf("no code of %s", name)
}
