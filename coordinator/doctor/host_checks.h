// What can be seen of a coordinator from its host: files, disks, clock, certificates, process. Nothing is
// changed; what hangs is given up after some seconds.
#pragma once

#include <cstdint>

#include "coordinator/doctor/finding.h"

namespace roamstead::doctor {

// Space, inodes and the time that a flush takes at `directory`, called `what` in the texts.
std::vector<Finding> check_storage(const std::string& what, const std::string& directory);
// The repository is there and of a format that this program reads.
Finding check_repository(const std::string& directory);
// Synchronised, and not behind what the state directory's files say.
Finding check_clock(const std::string& state_directory);
// `running`: a coordinator has the database open, and so its write-ahead log too.
Finding check_state_database(const std::string& state_directory, bool running);
// A PEM file: of an authority, which lives for years.
Finding check_certificate_file(const std::string& what, const std::string& path);
// That of the TLS server at "host:port".
Finding check_server_certificate(const std::string& address);
// A secret's file is its owner's alone.
Finding check_private(const std::string& path);
// The process that has the lock file `path`; 0: none.
int lock_holder(const std::string& path);
// Open files that the process may have, against what so many connections need.
Finding check_limits(int pid, std::uint64_t connections);
// Whether the process runs the program that is installed.
Finding check_program(int pid);

}  // namespace roamstead::doctor
