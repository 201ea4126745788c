# bpf_object(NAME FILE.bpf.c): compiles a CO-RE BPF program with clang and generates its skeleton with bpftool.
# Gives the interface library NAME_skel whose include folder holds NAME.skel.h.
find_program(BPF_CLANG NAMES clang-14 clang)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin)

function(bpf_object name source)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf)
  file(MAKE_DIRECTORY ${dir})
  add_custom_command(
    OUTPUT ${dir}/vmlinux.h
    COMMAND ${BPFTOOL} btf dump file /sys/kernel/btf/vmlinux format c > ${dir}/vmlinux.h
    VERBATIM)
  add_custom_command(
    OUTPUT ${dir}/${name}.skel.h
    COMMAND ${BPF_CLANG} -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -Wall -Werror -I${dir}
            -I${PROJECT_SOURCE_DIR}/bpf -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${dir}/${name}.debug.o
    COMMAND ${BPFTOOL} gen object ${dir}/${name}.bpf.o ${dir}/${name}.debug.o  # without DWARF
    COMMAND ${BPFTOOL} gen skeleton ${dir}/${name}.bpf.o name ${name} > ${dir}/${name}.skel.h
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source} ${PROJECT_SOURCE_DIR}/bpf/${name}.h ${dir}/vmlinux.h
    VERBATIM)
  add_custom_target(${name}_skeleton DEPENDS ${dir}/${name}.skel.h)
  add_library(${name}_skel INTERFACE)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${dir} ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name}_skel INTERFACE bpf)
  add_dependencies(${name}_skel ${name}_skeleton)
endfunction()
