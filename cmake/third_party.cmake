# Libraries of others for Windows, built by packaging/third-party: the targets have the names that pkg-config's have on Linux.
set(ROAMSTEAD_THIRD_PARTY "" CACHE PATH "Where packaging/third-party put the libraries for Windows; empty: its default")
set(where --where)
if(ROAMSTEAD_THIRD_PARTY)
  list(APPEND where --prefix ${ROAMSTEAD_THIRD_PARTY})
endif()
execute_process(COMMAND ${PROJECT_SOURCE_DIR}/packaging/third-party ${where}
  OUTPUT_VARIABLE folders ERROR_VARIABLE error RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "The libraries for Windows are missing. Run packaging/third-party, then configure again.\n${error}")
endif()
string(REPLACE "\n" ";" folders "${folders}")
foreach(line ${folders})
  string(REGEX MATCH "^([^\t]*)\t(.*)$" matched "${line}")
  set(third_party_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  message(STATUS "${CMAKE_MATCH_1} for Windows: ${CMAKE_MATCH_2}")
endforeach()

# third_party(SQLITE sqlite libsqlite3.a ...): target PkgConfig::SQLITE, linked in the order given.
function(third_party target name)
  add_library(PkgConfig::${target} INTERFACE IMPORTED GLOBAL)
  set(libraries)
  foreach(file ${ARGN})
    if(file MATCHES "\\.a$")
      list(APPEND libraries ${third_party_${name}}/lib/${file})
    else()
      list(APPEND libraries ${file})
    endif()
  endforeach()
  set_target_properties(PkgConfig::${target} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${third_party_${name}}/include
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${third_party_${name}}/include
    INTERFACE_LINK_LIBRARIES "${libraries}")
endfunction()
third_party(SQLITE sqlite libsqlite3.a)
third_party(ZSTD zstd libzstd.a)
third_party(OPENSSL openssl libssl.a libcrypto.a ws2_32 crypt32 bcrypt)
