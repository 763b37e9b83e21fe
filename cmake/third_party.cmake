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
    if(file MATCHES "\\.a$" AND NOT IS_ABSOLUTE ${file})
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
# libcrypto shows its last words in a window, and a first-boot step restarts Windows. user32 is loaded when it comes to that, and
# weighs nothing before: the agent waits on every desktop.
set(delayed ${CMAKE_BINARY_DIR}/delayed)
file(MAKE_DIRECTORY ${delayed})
file(WRITE ${delayed}/user32.def "LIBRARY user32.dll\nEXPORTS\nExitWindowsEx\nGetProcessWindowStation\nGetUserObjectInformationW\nMessageBoxW\n")
find_program(ROAMSTEAD_DLLTOOL x86_64-w64-mingw32-dlltool REQUIRED)
execute_process(COMMAND ${ROAMSTEAD_DLLTOOL} -d ${delayed}/user32.def -y ${delayed}/libuser32_delayed.a COMMAND_ERROR_IS_FATAL ANY)
set(ROAMSTEAD_DELAYED_USER32 ${delayed}/libuser32_delayed.a delayimp)
third_party(OPENSSL openssl libssl.a libcrypto.a ${ROAMSTEAD_DELAYED_USER32} ws2_32 crypt32 bcrypt)
