# One static library per folder. A library names the only libraries of ours it may use; scripts/check-includes.sh
# holds the includes to the same order.

# Warnings and sanitizers for one target of ours (never global flags).
function(dedup_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion -Werror -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)  # GCC PR 105651: false alarms on std::string concatenation
  endif()
  if(DEDUP_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${DEDUP_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${DEDUP_SANITIZE})
  endif()
  if(DEDUP_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/daemon)
endfunction()

# dedup_library(NAME SOURCES a.cc ... DEPS other-library ...): static library dedup_NAME of this folder.
function(dedup_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(dedup_${name} STATIC ${arg_SOURCES})
  dedup_compile_options(dedup_${name})
  target_link_libraries(dedup_${name} PUBLIC ${arg_DEPS})
endfunction()

# dedup_program(NAME SOURCES a.cc ... DEPS ...): executable.
function(dedup_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  dedup_compile_options(${name})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
endfunction()
