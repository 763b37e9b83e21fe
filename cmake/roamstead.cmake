# Helpers that keep the module CMakeLists to one line per fact.

# Warnings every target of ours is compiled with.
add_library(roamstead_warnings INTERFACE)
target_compile_options(roamstead_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wunused
  -Wimplicit-fallthrough $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond;-Wlogical-op>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of overlapping copies and overruns inside std::string where there are none (its bug 105651).
  target_compile_options(roamstead_warnings INTERFACE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow
    -Wno-stringop-overread)
endif()
option(ROAMSTEAD_WERROR "Treat warnings as errors" OFF)
if(ROAMSTEAD_WERROR)
  target_compile_options(roamstead_warnings INTERFACE -Werror)
endif()

# Header-only packages are linked one by one into a folder of our own, so that the cross build never sees the
# host's /usr/include.
set(ROAMSTEAD_HEADERS ${CMAKE_BINARY_DIR}/header-only)
file(MAKE_DIRECTORY ${ROAMSTEAD_HEADERS})
foreach(name tl cereal doctest fmt nlohmann asio asio.hpp CLI toml++)
  if(EXISTS /usr/include/${name} AND NOT EXISTS ${ROAMSTEAD_HEADERS}/${name})
    file(CREATE_LINK /usr/include/${name} ${ROAMSTEAD_HEADERS}/${name} SYMBOLIC)
  endif()
endforeach()
add_library(roamstead_headers INTERFACE)
target_include_directories(roamstead_headers SYSTEM INTERFACE ${ROAMSTEAD_HEADERS})
target_compile_definitions(roamstead_headers INTERFACE ASIO_STANDALONE
  $<$<PLATFORM_ID:Windows>:FMT_HEADER_ONLY;_WIN32_WINNT=0x0A00>)
if(NOT WIN32)
  find_package(fmt REQUIRED)
  target_link_libraries(roamstead_headers INTERFACE fmt::fmt)
endif()

# Test programs are compiled often and run seldom: what they are made of is optimised and watched, they themselves less.
add_library(roamstead_test_options INTERFACE)
target_compile_definitions(roamstead_test_options INTERFACE DOCTEST_CONFIG_SUPER_FAST_ASSERTS)
target_compile_options(roamstead_test_options INTERFACE $<$<CONFIG:RelWithDebInfo>:-O1>)
if(ROAMSTEAD_SANITIZER MATCHES undefined)
  target_compile_options(roamstead_test_options INTERFACE -fno-sanitize=undefined -O0)
endif()

# Headers precompiled once for all libraries and once for all tests. Clang's are not worth it: only the fuzzers and
# clang-tidy use clang, and it wants the very same definitions everywhere.
option(ROAMSTEAD_PRECOMPILE "Precompile the common headers (GCC)" ON)
if(ROAMSTEAD_PRECOMPILE AND NOT CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(ROAMSTEAD_PRECOMPILE OFF)
endif()
if(ROAMSTEAD_PRECOMPILE)
  foreach(kind "" _tests)
    add_library(roamstead_precompiled${kind} OBJECT ${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp)
    target_include_directories(roamstead_precompiled${kind} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(roamstead_precompiled${kind} PRIVATE roamstead_headers roamstead_warnings
      $<$<STREQUAL:${kind},_tests>:roamstead_test_options>)
    target_precompile_headers(roamstead_precompiled${kind} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/precompiled${kind}.h)
  endforeach()
endif()
function(roamstead_precompiled target kind)
  if(ROAMSTEAD_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM roamstead_precompiled${kind})
  endif()
endfunction()

# Several sources of a library or program compiled as one: half the time for a build of everything, more for a build after
# a change. Tests stay as they are: each has helpers of its own, under the same names.
option(ROAMSTEAD_UNITY "Compile several sources of a library at once" OFF)
function(roamstead_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${ROAMSTEAD_UNITY} UNITY_BUILD_BATCH_SIZE 6)
  if(ROAMSTEAD_UNITY)  # what is in an anonymous namespace now seems to come from a header
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# roamstead_library(base SOURCES a.cpp ... DEPENDS roamstead::x ...): library roamstead_base, alias roamstead::base.
function(roamstead_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(roamstead_${name} STATIC ${ARG_SOURCES})
  add_library(roamstead::${name} ALIAS roamstead_${name})
  target_include_directories(roamstead_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(roamstead_${name} PUBLIC roamstead_headers ${ARG_DEPENDS} PRIVATE roamstead_warnings ${ARG_PRIVATE_DEPENDS})
  roamstead_precompiled(roamstead_${name} "")
  roamstead_unity(roamstead_${name})
endfunction()

set(ROAMSTEAD_TEST_LABELS "" CACHE STRING "Build only the test programs whose label matches this (fuse|corpus); empty: all")

# Programs for Windows are run by Wine, in a prefix of the build's own that the fixture `wine` (tests/wine) makes and ends.
if(WIN32)
  set(ROAMSTEAD_WINE_PREFIX ${CMAKE_BINARY_DIR}/wine-unit)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${PROJECT_SOURCE_DIR}/tests/wine/windows.py run ${ROAMSTEAD_WINE_PREFIX})
endif()

# roamstead_test(base_test SOURCES ... DEPENDS ... [LABELS unit] [TIMEOUT s]): one doctest program, one ctest entry.
function(roamstead_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  if(ROAMSTEAD_FUZZ)
    return()
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(ROAMSTEAD_TEST_LABELS)
    set(wanted ${ARG_LABELS})
    list(FILTER wanted INCLUDE REGEX "^(${ROAMSTEAD_TEST_LABELS})$")
    if(NOT wanted)
      return()
    endif()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES} $<TARGET_OBJECTS:roamstead_doctest_main>)
  target_link_libraries(${name} PRIVATE roamstead_warnings ${ARG_DEPENDS} roamstead_headers roamstead_test_options)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  roamstead_precompiled(${name} _tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "ROAMSTEAD_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
  if(WIN32)
    target_link_options(${name} PRIVATE -static)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED wine
      ENVIRONMENT "ROAMSTEAD_SOURCE_DIR=${PROJECT_SOURCE_DIR};ROAMSTEAD_TEST_THIN=8")  # tests/support/thinning.h
  endif()
endfunction()

# roamstead_skipped_tests("why" a_test b_test ...): tests that cannot run here are named, with the reason, among the others.
function(roamstead_skipped_tests reason)
  foreach(name ${ARGN})
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: ${name}: ${reason}")
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "^skipped: " LABELS unit)
  endforeach()
endfunction()

# roamstead_fuzzer(vdisk_fuzz SOURCES ... DEPENDS ...): with the fuzz preset a libFuzzer program and a smoke test.
function(roamstead_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(NOT ROAMSTEAD_FUZZ)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  add_dependencies(fuzzers ${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  # -entropic=0: with as many features as these have, counting them takes more time than running the inputs.
  add_test(NAME ${name}_smoke COMMAND ${name} -max_total_time=2 -entropic=0 -timeout=5 -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0)
  set_tests_properties(${name}_smoke PROPERTIES LABELS fuzz TIMEOUT 60)
endfunction()
