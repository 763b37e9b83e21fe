// The two routes by which Windows itself finishes a join: files that its Setup (`unattend`, for images that
// sysprep has generalised) or the first start's scripts (`runonce`) take. Both hold the machine's password in
// the clear until then, in files that only SYSTEM and Administrators can read.
#pragma once

#include <string>
#include <string_view>

#include "coordinator/compose/edit.h"
#include "coordinator/join/odj_blob.h"

namespace roamstead::join {

// Setup of a generalised image takes its answers from here.
inline constexpr const char* kUnattendPath = "Windows/Panther/unattend.xml";

// The answer file: in the specialize pass the computer's name and, as AccountData, the blob (in its binary
// form; empty: a name alone); at the first start no questions that a desktop has nobody to answer.
// `architecture` is the image's: "AMD64", "x86" or "ARM64", in any case.
Result<compose::FileEdit> unattend_join_file(std::string_view machine_name, ByteView blob,
                                             std::string_view architecture);
// Windows runs this when its Setup has ended. It removes the answer file.
inline constexpr const char* kSetupCompletePath = "Windows/Setup/Scripts/SetupComplete.cmd";
std::string setup_complete_script();

// The blob (in its binary form) for `djoin /requestodj`, below the first start's folder
// ("ProgramData/Roamstead/firstboot/").
compose::FileEdit runonce_blob_file(ByteView blob, const std::string& first_boot_folder);
inline constexpr const char* kRunonceBlobName = "domain-join.txt";
// The script that takes it, the same for every clone, for the folder `scripts` below that folder. Removes the
// blob once it is taken. Ends with 0 when there is nothing (more) to do, with kRestartWanted when the join
// waits for a restart, else with djoin's error: trying again is safe.
std::string runonce_join_script();
inline constexpr const char* kRunonceScriptName = "00-domain-join.cmd";
inline constexpr int kRestartWanted = 3010;  // ERROR_SUCCESS_REBOOT_REQUIRED

}  // namespace roamstead::join
