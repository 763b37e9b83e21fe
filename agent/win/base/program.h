// What our programs ask about themselves without user32, which shell32 and ole32 bring into a process: four
// megabytes that a service has no use for.
#pragma once

#include <string>
#include <vector>

namespace roamstead::win {

// The words of the command line behind the program's name, as wmain has them, in UTF-8.
std::vector<std::string> words_of(int count, const wchar_t* const* words);

// Where all users' programs keep their data, "C:\ProgramData": as Windows has it, not as the environment
// says, which may be somebody else's.
std::string program_data_folder();

}  // namespace roamstead::win
